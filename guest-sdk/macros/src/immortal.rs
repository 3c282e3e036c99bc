//! `#[ambrosia::immortal]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{
    Attribute, Error, Expr, ExprLit, Ident, ImplItem, ImplItemFn, ItemImpl, Lit, Meta, MetaNameValue, Result, Type,
    parse_quote, spanned::Spanned,
};

use crate::{
    attribute::MethodOptions,
    method_set::{self, combined},
    proxy,
    signature::{Access, Method, RawArgument, check_plain, split_receiver, without_self},
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
}

/// A method that the host runs by itself.
struct Hook {
    ident: Ident,
    access: Access,
    is_async: bool,
}

fn generate(options: TokenStream, item: &mut ItemImpl) -> Result<TokenStream> {
    let exported = match options.to_string().as_str() {
        "" => true,
        "no_exports" => false,
        _ => return Err(Error::new(options.span(), "the only option is `no_exports`")),
    };
    let application = Application::read(item)?;
    let (ident, proxy_ident) = (&application.ident, format_ident!("{}Proxy", application.ident));
    let implementation = application.implementation(&proxy_ident);
    let exports = exported.then(|| exports(ident));
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
    Ok(quote! { #implementation #proxy #exports })
}

impl Application {
    fn read(item: &mut ItemImpl) -> Result<Self> {
        let ident = checked_type(item)?;
        let mut application = Application { ident, handlers: Vec::new(), first_start: None, becoming_primary: None };
        let mut errors = Vec::new();
        for member in &mut item.items {
            if let ImplItem::Fn(function) = member {
                errors.extend(application.read_function(function).err());
            }
        }
        let methods: Vec<_> = application.handlers.iter().map(|(_, method)| method).collect();
        errors.extend(method_set::check(&methods).err());
        match errors.into_iter().reduce(combined) {
            Some(error) => Err(error),
            None => Ok(application),
        }
    }

    fn read_function(&mut self, function: &mut ImplItemFn) -> Result<()> {
        let options = MethodOptions::take(&mut function.attrs)?;
        if options.helper {
            return Ok(());
        }
        let name = function.sig.ident.to_string();
        match name.as_str() {
            "on_first_start" => self.first_start = Some(Hook::read(function, &options)?),
            "on_becoming_primary" => self.becoming_primary = Some(Hook::read(function, &options)?),
            _ => {
                check_plain(&function.sig)?;
                let (access, arguments) = split_receiver(&function.sig)?;
                self.handlers.push((access, Method::read(&function.sig, &function.attrs, &options, arguments)?));
            }
        }
        Ok(())
    }

    fn implementation(&self, proxy_ident: &Ident) -> TokenStream {
        let ident = &self.ident;
        let descriptions = self.handlers.iter().map(|(_, method)| description(method));
        let arms = self.handlers.iter().map(|(access, method)| arm(access, method));
        let start = self.first_start.as_ref().map(|hook| hook.implementation(format_ident!("start")));
        let primary = self.becoming_primary.as_ref().map(|hook| hook.implementation(format_ident!("primary")));
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
        if options.raw || options.query.is_some() || options.name.is_some() || !options.formerly.is_empty() {
            return Err(Error::new(ident.span(), format!("`{ident}` is run by the host: no message names it")));
        }
        Ok(Hook { ident: ident.clone(), access, is_async: signature.asyncness.is_some() })
    }

    fn implementation(&self, host_name: Ident) -> TokenStream {
        let Hook { ident, access, is_async } = self;
        let name = ident.to_string();
        let run = match (access, is_async) {
            (Access::State, _) => quote!(this.with(Self::#ident)),
            (Access::This, false) => quote!(Self::#ident(this.clone())),
            (Access::This, true) => quote!(::ambrosia::__private::spawn_hook(#name, Self::#ident(this.clone()))),
        };
        quote! {
            fn #host_name(this: &::ambrosia::This<Self>) {
                #run
            }
        }
    }
}

fn description(method: &Method) -> TokenStream {
    let Method { id, name, conditions, .. } = method;
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
    quote! {
        #(#conditions)*
        ::ambrosia::Method {
            id: #id,
            name: #name,
            kind: ::ambrosia::MethodKind::#kind,
            arguments: &[#(#arguments),*],
            result: #result,
            docs: #docs,
            formerly: &[#(#formerly),*],
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
    let Method { ident, name, .. } = method;
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
            let value = Self::#ident(this.clone(), #(#idents),*);
            request.reply(&value);
        },
        (Access::This, true) => quote!(request.spawn(#name, Self::#ident(this.clone(), #(#idents),*));),
    };
    let arguments = if method.arguments.is_empty() { quote!(_arguments) } else { quote!(arguments) };
    quote! {
        let Some((#(#idents,)*)) = request.arguments(#count, |#arguments| Ok((#(#reads,)*))) else { return };
        #run
    }
}

fn raw_body(access: &Access, method: &Method) -> TokenStream {
    let Method { ident, name, .. } = method;
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
            let value = Self::#ident(this.clone(), #bytes);
            request.reply_raw(&value);
        },
        (Access::This, true) => quote!(request.spawn_raw(#name, Self::#ident(this.clone(), #bytes));),
    }
}

fn exports(ident: &Ident) -> TokenStream {
    quote! {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Exported = ::ambrosia::__private::Component<#ident>;
            ::ambrosia::__private::export_component!(Exported with_types_in ::ambrosia::__private::bindings);
        };

        // Natively nothing but a test runs it, and the compiler should not call it unused for that.
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() = || ::ambrosia::__private::keep::<#ident>();
    }
}
