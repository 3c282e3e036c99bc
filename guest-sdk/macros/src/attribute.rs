//! `#[ambrosia(..)]` on a method.

use proc_macro2::Span;
use syn::{Attribute, Ident, LitStr, Path, Result, meta::ParseNestedMeta, spanned::Spanned};

use crate::route::VERBS;

/// What the attributes of one method say.
#[derive(Default)]
pub(crate) struct MethodOptions {
    /// Not a handler.
    pub(crate) helper: bool,
    /// Changes nothing and sends nothing.
    pub(crate) query: Option<Span>,
    /// No query, though it could be one by its receiver.
    pub(crate) update: Option<Span>,
    /// Names that it had in messages before.
    pub(crate) formerly: Vec<LitStr>,
    /// Takes and gives bytes instead of MessagePack.
    pub(crate) raw: bool,
    /// Begins again in an upgrade, if it is waiting then.
    pub(crate) restart: Option<Span>,
    /// The name in messages, if it is another than in Rust.
    pub(crate) name: Option<LitStr>,
    /// When it runs by itself.
    pub(crate) cron: Option<LitStr>,
    /// The time zone of that.
    pub(crate) zone: Option<LitStr>,
    /// What becomes of times that were missed.
    pub(crate) missed: Option<LitStr>,
    /// Methods of HTTP and paths at which it is asked.
    pub(crate) routes: Vec<(Ident, LitStr)>,
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

    /// Something that only the instance says of a method which has it: where, and what.
    pub(crate) fn of_the_instance(&self) -> Option<Span> {
        let text = |text: &Option<LitStr>| text.as_ref().map(LitStr::span);
        self.query
            .or(self.update)
            .or(self.restart)
            .or_else(|| text(&self.cron))
            .or_else(|| text(&self.zone))
            .or_else(|| text(&self.missed))
            .or_else(|| self.formerly.first().map(LitStr::span))
            .or_else(|| self.routes.first().map(|(verb, _)| verb.span()))
    }

    fn schedule_place(&mut self, path: &Path) -> Option<&mut Option<LitStr>> {
        match path.get_ident()?.to_string().as_str() {
            "cron" => Some(&mut self.cron),
            "zone" => Some(&mut self.zone),
            "missed" => Some(&mut self.missed),
            _ => None,
        }
    }

    fn read(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        if meta.path.is_ident("helper") {
            self.helper = true;
        } else if meta.path.is_ident("raw") {
            self.raw = true;
        } else if meta.path.is_ident("query") {
            self.query = Some(meta.path.span());
        } else if meta.path.is_ident("update") {
            self.update = Some(meta.path.span());
        } else if meta.path.is_ident("restart") {
            self.restart = Some(meta.path.span());
        } else if meta.path.is_ident("formerly") {
            self.formerly.push(meta.value()?.parse()?);
        } else if meta.path.is_ident("name") {
            self.name = Some(meta.value()?.parse()?);
        } else if let Some(place) = self.schedule_place(&meta.path) {
            let text = meta.value()?.parse()?;
            if place.replace(text).is_some() {
                return Err(meta.error("a method runs by one schedule: say it once, or mark a method for each"));
            }
        } else if let Some(verb) = meta.path.get_ident().filter(|ident| VERBS.iter().any(|verb| ident == verb)) {
            self.routes.push((verb.clone(), meta.value()?.parse()?));
        } else {
            return Err(meta.error(
                "expected `raw`, `query`, `update`, `restart`, `helper`, `name = \"..\"`, `formerly = \"..\"`, `get = \"/..\"` (or `post`, \
                 `put`, `patch`, `delete`), or `cron = \"..\"` with `zone = \"..\"` and `missed = \"..\"`",
            ));
        }
        Ok(())
    }
}
