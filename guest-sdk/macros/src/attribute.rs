//! `#[ambrosia(..)]` on a method.

use proc_macro2::Span;
use syn::{Attribute, LitStr, Result, meta::ParseNestedMeta, spanned::Spanned};

/// What the attributes of one method say.
#[derive(Default)]
pub(crate) struct MethodOptions {
    /// Not a handler.
    pub(crate) helper: bool,
    /// Changes nothing and sends nothing.
    pub(crate) query: Option<Span>,
    /// Names that it had in messages before.
    pub(crate) formerly: Vec<LitStr>,
    /// Takes and gives bytes instead of MessagePack.
    pub(crate) raw: bool,
    /// Begins again in an upgrade, if it is waiting then.
    pub(crate) restart: Option<Span>,
    /// The name in messages, if it is another than in Rust.
    pub(crate) name: Option<LitStr>,
}

impl MethodOptions {
    /// Takes our attributes out of `attributes`.
    pub(crate) fn take(attributes: &mut Vec<Attribute>) -> Result<Self> {
        let mut options = MethodOptions::default();
        for attribute in attributes.extract_if(.., |attribute| attribute.path().is_ident("ambrosia")) {
            attribute.parse_nested_meta(|meta| options.read(&meta))?;
        }
        Ok(options)
    }

    fn read(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        if meta.path.is_ident("helper") {
            self.helper = true;
        } else if meta.path.is_ident("raw") {
            self.raw = true;
        } else if meta.path.is_ident("query") {
            self.query = Some(meta.path.span());
        } else if meta.path.is_ident("restart") {
            self.restart = Some(meta.path.span());
        } else if meta.path.is_ident("formerly") {
            self.formerly.push(meta.value()?.parse()?);
        } else if meta.path.is_ident("name") {
            self.name = Some(meta.value()?.parse()?);
        } else {
            return Err(
                meta.error("expected `raw`, `query`, `restart`, `helper`, `name = \"..\"` or `formerly = \"..\"`")
            );
        }
        Ok(())
    }
}
