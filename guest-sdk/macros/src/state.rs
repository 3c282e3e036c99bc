//! `#[ambrosia::state]`.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{
    Attribute, Data, DeriveInput, Error, Fields, LitInt, Path, Result, Token, meta, parse::Parser,
    punctuated::Punctuated, spanned::Spanned,
};

/// Keeps the type and adds what makes it a state.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    try_expand(options, item).unwrap_or_else(|error| error.to_compile_error())
}

fn try_expand(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let text = "`#[ambrosia::state]` goes on a struct or an enum, whose methods are the handlers";
    let item: DeriveInput = syn::parse2(item).map_err(|error| Error::new(error.span(), text))?;
    let options = Options::read(options)?;
    if !item.generics.params.is_empty() {
        let text =
            "a state can't be generic: its fields have concrete types; derive serde's traits for what it consists of";
        return Err(Error::new(item.generics.span(), text));
    }
    let serde = match &item.data {
        Data::Union(data) => return Err(Error::new(data.union_token.span(), text)),
        Data::Struct(data) if matches!(data.fields, Fields::Unit) => unit(&item),
        Data::Struct(_) => derived(&item, true),
        // Serde has defaults for the fields of a struct only.
        Data::Enum(_) => derived(&item, false),
    };
    let default =
        (!options.own_default && !derives(&item, "Default")).then(|| quote!(#[derive(::core::default::Default)]));
    let implementation = implementation(&item, &options);
    let serde_attributes = serde.attributes;
    let serde_implementation = serde.implementation;
    Ok(quote! {
        #default
        #serde_attributes
        #item

        #serde_implementation
        #implementation
    })
}

/// What stands in the parentheses of the attribute.
struct Options {
    version: u32,
    from: Option<Path>,
    own_default: bool,
}

impl Options {
    fn read(options: TokenStream) -> Result<Self> {
        let mut read = Options { version: 1, from: None, own_default: false };
        let mut version_span = None::<Span>;
        let parser = meta::parser(|meta| {
            if meta.path.is_ident("version") {
                let number: LitInt = meta.value()?.parse()?;
                version_span = Some(number.span());
                read.version = number.base10_parse()?;
            } else if meta.path.is_ident("from") {
                read.from = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("own_default") {
                read.own_default = true;
            } else {
                return Err(meta.error("the options are `version = N`, `from = Old` and `own_default`"));
            }
            Ok(())
        });
        parser.parse2(options)?;
        match (&read.from, version_span) {
            (_, Some(span)) if read.version == 0 => Err(Error::new(span, "versions are counted from 1")),
            (Some(from), None) => {
                let text = "a state that comes of another one has a version: write `version = 2` beside it";
                Err(Error::new(from.span(), text))
            }
            _ => Ok(read),
        }
    }
}

/// How serde gets to know the type.
struct Serde {
    attributes: TokenStream,
    implementation: TokenStream,
}

fn derived(item: &DeriveInput, has_defaults: bool) -> Serde {
    let traits = ["Serialize", "Deserialize"].map(|name| (name, derives(item, name)));
    let missing: Vec<_> = traits
        .iter()
        .filter(|(_, derived)| !derived)
        .map(|(name, _)| Path::from(syn::Ident::new(name, Span::call_site())))
        .collect();
    let derive = (!missing.is_empty()).then(|| quote!(#[derive(#(::ambrosia::serde::#missing),*)]));
    // Where serde is derived by hand, it may be found by hand too.
    let found = says_serde(item, "crate");
    let crate_path = (missing.len() == traits.len() && !found).then(|| quote!(#[serde(crate = "::ambrosia::serde")]));
    let default = (has_defaults && !says_serde(item, "default")).then(|| quote!(#[serde(default)]));
    Serde { attributes: quote!(#derive #crate_path #default), implementation: TokenStream::new() }
}

/// A struct without fields is a map without fields, so that it may get some later, or have had some before.
fn unit(item: &DeriveInput) -> Serde {
    let ident = &item.ident;
    let name = ident.to_string();
    let serialize = (!derives(item, "Serialize")).then(|| {
        quote! {
            #[automatically_derived]
            impl ::ambrosia::serde::Serialize for #ident {
                fn serialize<S: ::ambrosia::serde::Serializer>(
                    &self,
                    serializer: S,
                ) -> ::core::result::Result<S::Ok, S::Error> {
                    let state = ::ambrosia::serde::Serializer::serialize_struct(serializer, #name, 0)?;
                    ::ambrosia::serde::ser::SerializeStruct::end(state)
                }
            }
        }
    });
    let deserialize = (!derives(item, "Deserialize")).then(|| {
        quote! {
            #[automatically_derived]
            impl<'de> ::ambrosia::serde::Deserialize<'de> for #ident {
                fn deserialize<D: ::ambrosia::serde::Deserializer<'de>>(
                    deserializer: D,
                ) -> ::core::result::Result<Self, D::Error> {
                    #[derive(::ambrosia::serde::Deserialize)]
                    #[serde(crate = "::ambrosia::serde", rename = #name)]
                    struct NoFields {}
                    <NoFields as ::ambrosia::serde::Deserialize>::deserialize(deserializer).map(|NoFields {}| #ident)
                }
            }
        }
    });
    Serde { attributes: TokenStream::new(), implementation: quote!(#serialize #deserialize) }
}

/// Whether the trait is derived by an attribute that follows.
fn derives(item: &DeriveInput, name: &str) -> bool {
    let derives = item.attrs.iter().filter(|attribute| attribute.path().is_ident("derive"));
    derives.filter_map(derived_paths).flatten().any(|path| path.segments.last().is_some_and(|last| last.ident == name))
}

fn derived_paths(attribute: &Attribute) -> Option<Vec<Path>> {
    let paths = attribute.parse_args_with(Punctuated::<Path, Token![,]>::parse_terminated).ok()?;
    Some(paths.into_iter().collect())
}

/// Whether an attribute of serde on the type says that.
fn says_serde(item: &DeriveInput, word: &str) -> bool {
    let serde = item.attrs.iter().filter(|attribute| attribute.path().is_ident("serde"));
    serde
        .filter_map(|attribute| attribute.meta.require_list().ok())
        .any(|list| list.tokens.clone().into_iter().any(|token| token.to_string() == word))
}

fn implementation(item: &DeriveInput, options: &Options) -> TokenStream {
    let (ident, name, version) = (&item.ident, item.ident.to_string(), options.version);
    let (versions, before) = match &options.from {
        None => (None, quote!(::core::option::Option::None)),
        Some(from) => (
            Some(quote!(<#from as ::ambrosia::State>::versions(into);)),
            quote! {
                <#from as ::ambrosia::State>::read(version, bytes)
                    .map(|old| old.map(|old| <Self as ::core::convert::From<#from>>::from(old)))
            },
        ),
    };
    let check = options.from.as_ref().map(|from| {
        let text = format!("`{name}` has version {version}, so what it comes `from` needs a lower one");
        quote_spanned!(from.span()=> const _: () = assert!(<#from as ::ambrosia::State>::VERSION < #version, #text);)
    });
    quote! {
        #[automatically_derived]
        impl ::ambrosia::State for #ident {
            const NAME: &'static str = #name;

            const VERSION: u32 = #version;

            fn versions(into: &mut ::std::vec::Vec<u32>) {
                into.push(#version);
                #versions
            }

            fn read(
                version: u32,
                bytes: &[u8],
            ) -> ::core::option::Option<::core::result::Result<Self, ::std::string::String>> {
                if version == #version {
                    return ::core::option::Option::Some(::ambrosia::__private::read_as(bytes));
                }
                #before
            }
        }

        #check
    }
}
