//! `#[ambrosia::interface]`.

use proc_macro2::TokenStream;
use syn::{Error, FnArg, ItemTrait, Result, TraitItem, TraitItemFn, spanned::Spanned};

use crate::{
    attribute::MethodOptions,
    method_set::{self, combined},
    proxy,
    signature::Method,
};

/// Replaces the trait by a proxy.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    try_expand(options, item).unwrap_or_else(|error| error.to_compile_error())
}

fn try_expand(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !options.is_empty() {
        return Err(Error::new(options.span(), "`#[ambrosia::interface]` takes no options"));
    }
    let item: ItemTrait =
        syn::parse2(item).map_err(|error| Error::new(error.span(), "`#[ambrosia::interface]` goes on a trait"))?;
    check_trait(&item)?;
    let (mut methods, mut errors) = (Vec::new(), Vec::new());
    for item in item.items {
        match read(item) {
            Ok(method) => methods.push(method),
            Err(error) => errors.push(error),
        }
    }
    errors.extend(method_set::check(&methods.iter().collect::<Vec<_>>()).err());
    if let Some(error) = errors.into_iter().reduce(combined) {
        return Err(error);
    }
    Ok(proxy::generate(&item.vis, &item.ident, &item.attrs, &methods, &|types| types))
}

fn check_trait(item: &ItemTrait) -> Result<()> {
    if !item.generics.params.is_empty() || item.generics.where_clause.is_some() {
        return Err(Error::new(
            item.generics.span(),
            "an interface can't be generic: its messages have concrete types",
        ));
    }
    if !item.supertraits.is_empty() {
        return Err(Error::new(item.supertraits.span(), "an interface has no supertraits: list all its methods"));
    }
    Ok(())
}

fn read(item: TraitItem) -> Result<Method> {
    let TraitItem::Fn(TraitItemFn { mut attrs, sig, default, .. }) = item else {
        return Err(Error::new(item.span(), "an interface lists methods only"));
    };
    let options = MethodOptions::take(&mut attrs)?;
    let ident = &sig.ident;
    if options.helper {
        return Err(Error::new(ident.span(), "an interface has no helpers"));
    }
    if options.of_the_instance().is_some() {
        let text = format!(
            "`{ident}`: `query`, `update`, `restart`, `formerly`, `cron` and paths belong to the instance that has the method, not to its callers"
        );
        return Err(Error::new(ident.span(), text));
    }
    if let Some(body) = default {
        let text = format!("`{ident}` has a body: an interface says what the other instance does, not how");
        return Err(Error::new(body.span(), text));
    }
    if let Some(token) = sig.asyncness {
        let text = format!("write `fn {ident}`: every caller awaits the answer, however the other instance makes it");
        return Err(Error::new(token.span(), text));
    }
    let arguments = sig.inputs.iter().filter(|argument| !matches!(argument, FnArg::Receiver(_)));
    Method::read(&sig, &attrs, &options, arguments)
}
