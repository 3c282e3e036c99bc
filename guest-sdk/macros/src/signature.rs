//! One method, read from its signature and checked.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{
    Attribute, Error, FnArg, Ident, LitStr, Pat, PatType, Receiver, Result, ReturnType, Signature, Type,
    spanned::Spanned,
};

use crate::{attribute::MethodOptions, method_id::method_id, route::Route, schedule::Schedule};

/// A proxy can pass this many: the longest tuple that the SDK encodes.
const ARGUMENTS_MAX: usize = 12;

/// A method that messages can name.
pub(crate) struct Method {
    pub(crate) ident: Ident,
    /// Its name in messages.
    pub(crate) name: String,
    pub(crate) id: u32,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) output: Type,
    pub(crate) raw: bool,
    pub(crate) is_query: bool,
    /// Names that it had before, with their ids.
    pub(crate) formerly: Vec<(String, u32)>,
    pub(crate) is_async: bool,
    /// Whether an upgrade begins it again.
    pub(crate) restarts: bool,
    /// When it runs by itself.
    pub(crate) schedule: Option<Schedule>,
    /// Where it is asked over HTTP.
    pub(crate) routes: Vec<Route>,
    /// `#[cfg]` goes wherever the method goes.
    pub(crate) conditions: Vec<Attribute>,
    pub(crate) docs: Vec<Attribute>,
}

/// One argument.
pub(crate) struct Argument {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
}

impl Argument {
    /// Its name for tools.
    pub(crate) fn name(&self) -> String {
        self.ident.to_string().trim_start_matches("r#").to_owned()
    }

    /// How an error names it.
    pub(crate) fn label(&self) -> String {
        format!("{}: {}", self.ident, self.ty.to_token_stream().to_string().replace(" ", ""))
    }
}

/// How a method reaches the state.
pub(crate) enum Access {
    /// `&self` or `&mut self`.
    State,
    /// `this: This<Self>`.
    This,
}

impl Method {
    /// Reads a method whose receiver has been taken off `arguments`.
    pub(crate) fn read<'a>(
        signature: &Signature,
        attributes: &[Attribute],
        options: &MethodOptions,
        arguments: impl Iterator<Item = &'a FnArg>,
    ) -> Result<Self> {
        check_plain(signature)?;
        check_output(signature, options.raw)?;
        let is_query = is_query(signature, options)?;
        let name = options.name.as_ref().map_or_else(|| signature.ident.to_string(), |name| name.value());
        let name = name.trim_start_matches("r#").to_string();
        if name.is_empty() {
            return Err(Error::new(options.name.span(), "the name of a method can't be empty"));
        }
        let arguments: Vec<_> =
            arguments.map(|argument| Argument::read(argument, options.raw)).collect::<Result<_>>()?;
        let method = Method {
            ident: signature.ident.clone(),
            id: method_id(&name),
            name,
            schedule: Schedule::read(signature, options, &arguments)?,
            routes: Route::read_all(&signature.ident, options, is_query, &arguments)?,
            arguments,
            output: output(&signature.output),
            raw: options.raw,
            is_query,
            formerly: former_names(options)?,
            is_async: signature.asyncness.is_some(),
            restarts: restarts(signature, options)?,
            conditions: picked(attributes, "cfg"),
            docs: picked(attributes, "doc"),
        };
        method.check_arguments(signature)?;
        Ok(method)
    }

    fn check_arguments(&self, signature: &Signature) -> Result<()> {
        let ident = &self.ident;
        if self.arguments.len() > ARGUMENTS_MAX {
            let text = format!("`{ident}` takes more than {ARGUMENTS_MAX} arguments: put them into a struct");
            return Err(Error::new(signature.inputs.span(), text));
        }
        if !self.raw {
            return Ok(());
        }
        let [argument] = &self.arguments[..] else {
            let text = format!("`{ident}` is raw: it takes one argument, `&[u8]` or `Vec<u8>`");
            return Err(Error::new(ident.span(), text));
        };
        match RawArgument::of(&argument.ty) {
            None => {
                let text = format!("`{ident}` is raw: its argument is `&[u8]` or `Vec<u8>`");
                Err(Error::new(argument.ty.span(), text))
            }
            Some(RawArgument::Slice) if self.is_async => {
                let text = format!(
                    "`{ident}` is async: its bytes would be gone after an await, so it takes `Vec<u8>`, not `&[u8]`"
                );
                Err(Error::new(argument.ty.span(), text))
            }
            Some(_) => Ok(()),
        }
    }
}

/// The two types that a raw method may take.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RawArgument {
    Slice,
    Vector,
}

impl RawArgument {
    pub(crate) fn of(ty: &Type) -> Option<Self> {
        match ty.to_token_stream().to_string().replace(' ', "").as_str() {
            "&[u8]" => Some(RawArgument::Slice),
            "Vec<u8>" | "std::vec::Vec<u8>" => Some(RawArgument::Vector),
            _ => None,
        }
    }
}

impl Argument {
    fn read(argument: &FnArg, raw: bool) -> Result<Self> {
        let FnArg::Typed(PatType { pat, ty, .. }) = argument else {
            return Err(Error::new(argument.span(), "a receiver comes first"));
        };
        let Pat::Ident(pattern) = &**pat else {
            let text = "an argument needs a plain name, which tools show: take it apart inside the method";
            return Err(Error::new(pat.span(), text));
        };
        if let Some((_, pattern)) = &pattern.subpat {
            return Err(Error::new(pattern.span(), "an argument needs a plain name: take it apart inside the method"));
        }
        match &**ty {
            Type::Reference(_) if !raw => {
                let text = "an argument travels between instances, so it can't be a reference: take it by value \
                            (`String` for `&str`, `Vec<T>` for `&[T]`)";
                Err(Error::new(ty.span(), text))
            }
            Type::ImplTrait(_) => Err(Error::new(ty.span(), "an argument needs a concrete type, not `impl Trait`")),
            _ => Ok(Argument { ident: pattern.ident.clone(), ty: (**ty).clone() }),
        }
    }
}

/// How the method reaches the state, and what follows the receiver.
pub(crate) fn split_receiver(signature: &Signature) -> Result<(Access, impl Iterator<Item = &FnArg>)> {
    let mut arguments = signature.inputs.iter();
    let access = match arguments.next() {
        Some(FnArg::Receiver(receiver)) => state_access(signature, receiver)?,
        Some(FnArg::Typed(first)) if is_this(&first.ty) => Access::This,
        _ => {
            let ident = &signature.ident;
            let text = format!(
                "`{ident}` has no receiver: a handler takes `&mut self` or `this: ambrosia::This<Self>`; mark it \
                 `#[ambrosia(helper)]`, or move it to a plain `impl` block, if it is no handler"
            );
            return Err(Error::new(ident.span(), text));
        }
    };
    Ok((access, arguments))
}

fn state_access(signature: &Signature, receiver: &Receiver) -> Result<Access> {
    let ident = &signature.ident;
    if receiver.reference.is_none() || receiver.colon_token.is_some() {
        let text = format!("`{ident}` takes `self` in a way that a handler can't: write `&mut self`");
        return Err(Error::new(receiver.span(), text));
    }
    if signature.asyncness.is_some() {
        let text = format!(
            "`{ident}` is async and borrows the state: other handlers run while it awaits, so the borrow can't last. \
             Write `async fn {ident}(this: ambrosia::This<Self>, ..)` and reach the state by \
             `this.with(|state| ..)`, between the awaits"
        );
        return Err(Error::new(receiver.span(), text));
    }
    Ok(Access::State)
}

fn is_this(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|segment| segment.ident == "This"))
}

/// Refuses what no message can carry.
pub(crate) fn check_plain(signature: &Signature) -> Result<()> {
    let ident = &signature.ident;
    let refuse = |span: Span, text: String| Err(Error::new(span, text));
    if !signature.generics.params.is_empty() {
        let text = format!("`{ident}` is generic: a message names one method, so its types must be concrete");
        return refuse(signature.generics.span(), text);
    }
    if let Some(clause) = &signature.generics.where_clause {
        return refuse(clause.span(), format!("`{ident}` has a `where` clause: its types must be concrete"));
    }
    if let Some(token) = &signature.unsafety {
        return refuse(token.span(), format!("`{ident}` is unsafe: a message can't promise anything"));
    }
    if let Some(token) = &signature.variadic {
        return refuse(token.span(), format!("`{ident}` is variadic: list its arguments"));
    }
    Ok(())
}

/// A query changes nothing, which the compiler sees by its receiver. What only borrows the state and gives something back is one
/// where nothing else is said: a method that gives nothing back would be asked for nothing, and one that runs by itself is
/// there for what it sends.
fn is_query(signature: &Signature, options: &MethodOptions) -> Result<bool> {
    let ident = &signature.ident;
    if let (Some(_), Some(span)) = (options.query, options.update) {
        return Err(Error::new(span, format!("`{ident}` is a query or an update, not both")));
    }
    let borrows = matches!(signature.inputs.first(), Some(FnArg::Receiver(receiver)) if receiver.mutability.is_none());
    let could_be = borrows && signature.asyncness.is_none();
    let Some(span) = options.query else {
        let is_obvious = could_be && gives_something(&signature.output) && !options.raw && options.cron.is_none();
        return Ok(is_obvious && options.update.is_none());
    };
    if options.raw {
        return Err(Error::new(span, format!("`{ident}` is raw, so it can't be a query as well")));
    }
    if !could_be {
        let text = format!("a query changes nothing and awaits nothing: write `fn {ident}(&self, ..)`");
        return Err(Error::new(span, text));
    }
    Ok(true)
}

fn gives_something(output: &ReturnType) -> bool {
    match output {
        ReturnType::Default => false,
        ReturnType::Type(_, ty) => !matches!(&**ty, Type::Tuple(tuple) if tuple.elems.is_empty()),
    }
}

/// Only what awaits something can be waiting when the code is upgraded.
pub(crate) fn restarts(signature: &Signature, options: &MethodOptions) -> Result<bool> {
    let Some(span) = options.restart else { return Ok(false) };
    if signature.asyncness.is_none() {
        let ident = &signature.ident;
        let text =
            format!("`{ident}` is not async: it is never waiting when the code is upgraded, so leave out `restart`");
        return Err(Error::new(span, text));
    }
    Ok(true)
}

fn former_names(options: &MethodOptions) -> Result<Vec<(String, u32)>> {
    let former = |name: &LitStr| match name.value() {
        empty if empty.is_empty() => Err(Error::new(name.span(), "the name of a method can't be empty")),
        value => Ok((value.clone(), method_id(&value))),
    };
    options.formerly.iter().map(former).collect()
}

/// Refuses results that can't travel. Raw ones are copied, so they may live for ever.
fn check_output(signature: &Signature, raw: bool) -> Result<()> {
    let ident = &signature.ident;
    let ReturnType::Type(_, ty) = &signature.output else { return Ok(()) };
    let text = match &**ty {
        Type::Reference(_) if raw && is_static_reference(ty) => return Ok(()),
        Type::Reference(_) => format!("`{ident}` returns a reference: a result travels, so return it by value"),
        Type::ImplTrait(_) => format!("`{ident}` returns `impl Trait`: a result needs a concrete type"),
        _ => return Ok(()),
    };
    Err(Error::new(ty.span(), text))
}

fn is_static_reference(ty: &Type) -> bool {
    matches!(ty, Type::Reference(reference) if reference.lifetime.as_ref().is_some_and(|name| name.ident == "static"))
}

fn output(output: &ReturnType) -> Type {
    match output {
        ReturnType::Default => syn::parse_quote!(()),
        ReturnType::Type(_, ty) => (**ty).clone(),
    }
}

fn picked(attributes: &[Attribute], name: &str) -> Vec<Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident(name)).cloned().collect()
}

/// `tokens` with `this_type` in the place of `Self`, to be used outside of the `impl`.
pub(crate) fn without_self(tokens: TokenStream, this_type: &Ident) -> TokenStream {
    let replaced = tokens.into_iter().map(|token| match token {
        TokenTree::Ident(ident) if ident == "Self" => quote!(#this_type),
        TokenTree::Group(group) => {
            let inside = without_self(group.stream(), this_type);
            let mut changed = proc_macro2::Group::new(group.delimiter(), inside);
            changed.set_span(group.span());
            TokenTree::Group(changed).into()
        }
        other => other.into(),
    });
    replaced.collect()
}
