//! `#[ambrosia::immortal]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Attribute, Error, Expr, ExprLit, Ident, ImplItem, ImplItemFn, ItemImpl, Lit, Meta, MetaNameValue, Path, Result,
    Token, Type, parse::Parser, parse_quote, punctuated::Punctuated, spanned::Spanned,
};

use crate::{
    attribute::MethodOptions,
    method_set::{self, combined},
    proxy,
    route::Route,
    schedule::Schedule,
    signature::{Access, Method, RawArgument, check_plain, restarts, split_receiver, without_self},
};

/// Keeps the `impl` and adds what makes it an immortal.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut item: ItemImpl = match syn::parse2(item) {
        Ok(item) => item,
        Err(error) => {
            let text = "`#[ambrosia::immortal]` goes on an `impl` block: `impl Server { .. }`";
            return Error::new(error.span(), text).to_compile_error();
        }
    };
    // The block stays where it is even if something is wrong, so that the one error is the only one.
    let generated = generate(options, &mut item).unwrap_or_else(|error| error.to_compile_error());
    quote! { #item #generated }
}

/// All that the `impl` block says.
struct Application {
    ident: Ident,
    handlers: Vec<(Access, Method)>,
    first_start: Option<Hook>,
    becoming_primary: Option<Hook>,
    upgrade: Option<Hook>,
}

/// A method that the host runs by itself.
struct Hook {
    ident: Ident,
    access: Access,
    is_async: bool,
    restarts: bool,
}

/// What stands in the parentheses of the attribute.
struct Options {
    /// It is the component that this crate becomes.
    exported: bool,
    /// Its code can be upgraded.
    upgrades: bool,
}

impl Options {
    fn read(options: TokenStream) -> Result<Self> {
        let mut read = Options { exported: true, upgrades: true };
        let paths = Punctuated::<Path, Token![,]>::parse_terminated.parse2(options)?;
        for path in paths {
            match path.get_ident().map(Ident::to_string).as_deref() {
                Some("no_exports") => read.exported = false,
                Some("no_upgrade") => read.upgrades = false,
                _ => return Err(Error::new(path.span(), "the options are `no_upgrade` and `no_exports`")),
            }
        }
        Ok(read)
    }
}

fn generate(options: TokenStream, item: &mut ItemImpl) -> Result<TokenStream> {
    let options = Options::read(options)?;
    let application = Application::read(item, &options)?;
    let (ident, proxy_ident) = (&application.ident, format_ident!("{}Proxy", application.ident));
    let implementation = application.implementation(&proxy_ident, options.upgrades);
    let has_schedules = application.handlers.iter().any(|(_, method)| method.schedule.is_some());
    let has_routes = application.handlers.iter().any(|(_, method)| !method.routes.is_empty());
    let exports = options.exported.then(|| exports(ident, options.upgrades, has_schedules, has_routes));
    let one_block = one_block(ident);
    let methods: Vec<_> = application.handlers.into_iter().map(|(_, method)| method).collect();
    let doc = format!("Sends messages to an instance that runs `{ident}`.");
    let resolve = |types| without_self(types, ident);
    let proxy = proxy::generate(
        &parse_quote!(pub),
        &proxy_ident,
        &[parse_quote!(#[doc = #doc]), parse_quote!(#[allow(unreachable_pub)])],
        &methods,
        &resolve,
    );
    Ok(quote! { #one_block #implementation #proxy #exports })
}

impl Application {
    fn read(item: &mut ItemImpl, options: &Options) -> Result<Self> {
        let ident = checked_type(item)?;
        let mut application =
            Application { ident, handlers: Vec::new(), first_start: None, becoming_primary: None, upgrade: None };
        let mut errors = Vec::new();
        for member in &mut item.items {
            if let ImplItem::Fn(function) = member {
                errors.extend(application.read_function(function).err());
            }
        }
        let methods: Vec<_> = application.handlers.iter().map(|(_, method)| method).collect();
        errors.extend(method_set::check(&methods).err());
        errors.extend(application.check_upgrade(options).err());
        match errors.into_iter().reduce(combined) {
            Some(error) => Err(error),
            None => Ok(application),
        }
    }

    fn read_function(&mut self, function: &mut ImplItemFn) -> Result<()> {
        let options = MethodOptions::take(&mut function.attrs)?;
        if options.helper {
            return match options.routes.first() {
                Some((verb, _)) => {
                    let text = "a helper is no method, so nobody can ask it over HTTP: leave out `helper`, or the path";
                    Err(Error::new(verb.span(), text))
                }
                None => Ok(()),
            };
        }
        let name = function.sig.ident.to_string();
        match name.as_str() {
            "on_first_start" => self.first_start = Some(Hook::read(function, &options)?),
            "on_becoming_primary" => self.becoming_primary = Some(Hook::read(function, &options)?),
            "on_upgrade" => self.upgrade = Some(Hook::read(function, &options)?),
            _ => {
                check_plain(&function.sig)?;
                let (access, arguments) = split_receiver(&function.sig)?;
                self.handlers.push((access, Method::read(&function.sig, &function.attrs, &options, arguments)?));
            }
        }
        Ok(())
    }

    /// Refuses what has no meaning: where there is no upgrade, and in the hook that an upgrade runs.
    fn check_upgrade(&self, options: &Options) -> Result<()> {
        match &self.upgrade {
            Some(hook) if !options.upgrades => Err(Error::new(
                hook.ident.span(),
                "`on_upgrade` never runs: `no_upgrade` says that there is no upgrade",
            )),
            Some(hook) if hook.restarts => {
                Err(Error::new(hook.ident.span(), "`on_upgrade` is run by each upgrade anyway, so leave out `restart`"))
            }
            _ => Ok(()),
        }
    }

    /// How an upgrade runs the new code, and begins hooks again.
    fn upgrades(&self) -> TokenStream {
        let upgrade = self.upgrade.as_ref().map(|hook| hook.implementation(format_ident!("upgraded")));
        let hooks = [(&self.first_start, "start"), (&self.becoming_primary, "primary")];
        let restarting = hooks.into_iter().filter_map(|(hook, run)| {
            let hook = hook.as_ref().filter(|hook| hook.restarts)?;
            Some((hook.ident.to_string(), format_ident!("{run}")))
        });
        let (names, runs): (Vec<_>, Vec<_>) = restarting.unzip();
        let restart = (!names.is_empty()).then(|| {
            quote! {
                const RESTARTING_HOOKS: &'static [&'static str] = &[#(#names),*];

                fn restart_hook(this: &::ambrosia::This<Self>, name: &str) {
                    match name {
                        #(#names => <Self as ::ambrosia::Immortal>::#runs(this),)*
                        _ => {}
                    }
                }
            }
        });
        quote! {
            const UPGRADES: bool = true;

            #upgrade
            #restart
        }
    }

    fn implementation(&self, proxy_ident: &Ident, upgrades: bool) -> TokenStream {
        let ident = &self.ident;
        let descriptions = self.handlers.iter().map(|(_, method)| description(method));
        let arms = self.handlers.iter().map(|(access, method)| arm(access, method));
        let start = self.first_start.as_ref().map(|hook| hook.implementation(format_ident!("start")));
        let primary = self.becoming_primary.as_ref().map(|hook| hook.implementation(format_ident!("primary")));
        let upgrades = upgrades.then(|| self.upgrades());
        quote! {
            #[automatically_derived]
            impl ::ambrosia::Immortal for #ident {
                const METHODS: &'static [::ambrosia::Method] = &[#(#descriptions),*];

                type Proxy = #proxy_ident;

                fn dispatch(
                    this: &::ambrosia::This<Self>,
                    request: ::ambrosia::__private::Request<'_>,
                ) {
                    match request.method() {
                        #(#arms)*
                        _ => request.unknown(),
                    }
                }

                #start
                #primary
                #upgrades
            }
        }
    }
}

fn checked_type(item: &ItemImpl) -> Result<Ident> {
    if let Some((_, path, _)) = &item.trait_ {
        let text = "`#[ambrosia::immortal]` goes on a plain `impl Server { .. }`: a trait can't be an immortal";
        return Err(Error::new(path.span(), text));
    }
    if !item.generics.params.is_empty() || item.generics.where_clause.is_some() {
        let text = "an immortal can't be generic: its state and its messages have concrete types";
        return Err(Error::new(item.generics.span(), text));
    }
    let plain = match &*item.self_ty {
        Type::Path(path) if path.qself.is_none() => path.path.segments.last(),
        _ => None,
    };
    match plain {
        Some(segment) if segment.arguments.is_none() && is_one_segment(&item.self_ty) => Ok(segment.ident.clone()),
        _ => Err(Error::new(item.self_ty.span(), "an immortal is a plain struct or enum of this module")),
    }
}

fn is_one_segment(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.len() == 1 && path.path.leading_colon.is_none())
}

impl Hook {
    fn read(function: &ImplItemFn, options: &MethodOptions) -> Result<Self> {
        let signature = &function.sig;
        let ident = &signature.ident;
        check_plain(signature)?;
        let (access, mut arguments) = split_receiver(signature)?;
        if let Some(argument) = arguments.next() {
            let text = format!("`{ident}` is run by the host, which has no arguments for it");
            return Err(Error::new(argument.span(), text));
        }
        let has_kind = options.raw || options.query.is_some() || options.update.is_some();
        let is_named = options.name.is_some() || !options.formerly.is_empty() || !options.routes.is_empty();
        if has_kind || is_named || options.cron.is_some() || options.zone.is_some() || options.missed.is_some() {
            return Err(Error::new(ident.span(), format!("`{ident}` is run by the host: no message names it")));
        }
        let (is_async, restarts) = (signature.asyncness.is_some(), restarts(signature, options)?);
        Ok(Hook { ident: ident.clone(), access, is_async, restarts })
    }

    fn implementation(&self, host_name: Ident) -> TokenStream {
        let Hook { ident, access, is_async, restarts } = self;
        let name = ident.to_string();
        let run = match (access, is_async) {
            (Access::State, _) => quote!(this.with(Self::#ident)),
            (Access::This, false) => quote!(Self::#ident(*this)),
            (Access::This, true) => {
                quote!(::ambrosia::__private::spawn_hook(#name, #restarts, Self::#ident(*this)))
            }
        };
        quote! {
            fn #host_name(this: &::ambrosia::This<Self>) {
                #run
            }
        }
    }
}

fn description(method: &Method) -> TokenStream {
    let Method { id, name, conditions, restarts, .. } = method;
    let kind = match method {
        Method { raw: true, .. } => quote!(Raw),
        Method { is_query: true, .. } => quote!(Query),
        _ => quote!(Update),
    };
    let arguments = method.arguments.iter().map(|argument| {
        let (name, ty) = (argument.name(), type_of(method, &argument.ty));
        quote!(::ambrosia::Argument { name: #name, ty: #ty })
    });
    let result = type_of(method, &method.output);
    let docs = docs(&method.docs);
    let formerly = method.formerly.iter().map(|(name, _)| name);
    let schedule = method.schedule.as_ref().map(Schedule::description);
    let schedule = schedule.map_or(quote!(None), |schedule| quote!(Some(#schedule)));
    let routes = method.routes.iter().map(Route::description);
    quote! {
        #(#conditions)*
        ::ambrosia::Method {
            id: #id,
            name: #name,
            kind: ::ambrosia::MethodKind::#kind,
            arguments: &[#(#arguments),*],
            result: #result,
            docs: #docs,
            restarts: #restarts,
            formerly: &[#(#formerly),*],
            schedule: ::core::option::Option::#schedule,
            routes: &[#(#routes),*],
        }
    }
}

/// The text of the type, to be found out when the component is asked for it.
fn type_of(method: &Method, ty: &Type) -> TokenStream {
    match ty {
        Type::Tuple(tuple) if tuple.elems.is_empty() => quote!(::ambrosia::TypeOf::nothing()),
        _ if method.raw => quote!(::ambrosia::TypeOf::bytes()),
        ty => quote!(::ambrosia::TypeOf::of::<#ty>()),
    }
}

/// The text of documentation, without the space that each line begins with. What a macro makes is left out.
fn docs(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(MetaNameValue { value: Expr::Lit(ExprLit { lit: Lit::Str(text), .. }), .. }) => {
            Some(text.value())
        }
        _ => None,
    });
    let lines: Vec<_> = lines.map(|line| line.strip_prefix(' ').unwrap_or(&line).to_owned()).collect();
    lines.join("\n").trim().to_owned()
}

fn arm(access: &Access, method: &Method) -> TokenStream {
    let Method { id, conditions, .. } = method;
    let former = method.formerly.iter().map(|(_, id)| id);
    let body = if method.raw { raw_body(access, method) } else { message_pack_body(access, method) };
    quote! { #(#conditions)* #id #(| #former)* => { #body } }
}

fn message_pack_body(access: &Access, method: &Method) -> TokenStream {
    let Method { ident, name, restarts, .. } = method;
    let count = method.arguments.len() as u32;
    let idents: Vec<_> = (0..method.arguments.len()).map(|at| format_ident!("argument_{at}")).collect();
    let reads = method.arguments.iter().map(|argument| {
        let (ty, label) = (&argument.ty, argument.label());
        quote!(arguments.next::<#ty>(#label)?)
    });
    let run = match (access, method.is_async) {
        (Access::State, _) => quote! {
            let value = this.with(|state| Self::#ident(state, #(#idents),*));
            request.reply(&value);
        },
        (Access::This, false) => quote! {
            let value = Self::#ident(*this, #(#idents),*);
            request.reply(&value);
        },
        (Access::This, true) => quote!(request.spawn(#name, #restarts, Self::#ident(*this, #(#idents),*));),
    };
    let arguments = if method.arguments.is_empty() { quote!(_arguments) } else { quote!(arguments) };
    quote! {
        let Some((#(#idents,)*)) = request.arguments(#count, |#arguments| Ok((#(#reads,)*))) else { return };
        #run
    }
}

fn raw_body(access: &Access, method: &Method) -> TokenStream {
    let Method { ident, name, restarts, .. } = method;
    let bytes = match method.arguments.first().and_then(|argument| RawArgument::of(&argument.ty)) {
        Some(RawArgument::Vector) => quote!(request.bytes().to_vec()),
        _ => quote!(request.bytes()),
    };
    match (access, method.is_async) {
        (Access::State, _) => quote! {
            let value = this.with(|state| Self::#ident(state, #bytes));
            request.reply_raw(&value);
        },
        (Access::This, false) => quote! {
            let value = Self::#ident(*this, #bytes);
            request.reply_raw(&value);
        },
        (Access::This, true) => quote!(request.spawn_raw(#name, #restarts, Self::#ident(*this, #bytes));),
    }
}

/// A name that says what is wrong if there are two of it.
fn one_block(ident: &Ident) -> TokenStream {
    let name = format_ident!("all_handlers_of_{}_stand_in_one_immortal_block", ident, span = ident.span());
    quote! {
        #[doc(hidden)]
        #[allow(non_snake_case, dead_code)]
        const fn #name() {}
    }
}

/// The same of a crate, whatever module the blocks are in. Tests have many immortals, so it is of components alone.
fn one_component(ident: &Ident) -> TokenStream {
    let name = format_ident!("a_component_is_one_immortal_and_others_are_marked_no_exports", span = ident.span());
    quote! {
        #[doc(hidden)]
        #[cfg(target_arch = "wasm32")]
        #[allow(unused_macros, clippy::module_name_repetitions)]
        #[macro_export]
        macro_rules! #name { () => {} }
    }
}

fn exports(ident: &Ident, upgrades: bool, has_schedules: bool, has_routes: bool) -> TokenStream {
    // An error about the state points at its name.
    let check =
        upgrades.then(|| quote_spanned!(ident.span()=> const _: () = ::ambrosia::__private::check_state::<#ident>();));
    let export_upgrade = upgrades.then(|| {
        quote! {
            ::ambrosia::__private::export_upgrade!(
                Exported with_types_in ::ambrosia::__private::bindings::upgradable
            );
        }
    });
    let export_scheduling = has_schedules.then(|| {
        quote! {
            ::ambrosia::__private::export_scheduling!(
                Exported with_types_in ::ambrosia::__private::bindings::scheduled
            );
        }
    });
    let export_routing = has_routes.then(|| {
        quote! {
            ::ambrosia::__private::export_routing!(
                Exported with_types_in ::ambrosia::__private::bindings::routed
            );
        }
    });
    let one_component = one_component(ident);
    quote! {
        #check
        #one_component

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Exported = ::ambrosia::__private::Component<#ident>;
            ::ambrosia::__private::export_component!(Exported with_types_in ::ambrosia::__private::bindings);
            #export_upgrade
            #export_scheduling
            #export_routing
        };

        // Natively nothing but a test runs it, and the compiler should not call it unused for that.
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() = || ::ambrosia::__private::keep::<#ident>();
    }
}
