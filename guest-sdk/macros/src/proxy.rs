//! Generates the struct that sends messages to an instance.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::{Attribute, Ident, Visibility};

use crate::signature::Method;

/// The proxy `ident` with its methods. `resolve` makes types fit for outside of the `impl` they were written in.
pub(crate) fn generate(
    visibility: &Visibility,
    ident: &Ident,
    attributes: &[Attribute],
    methods: &[Method],
    resolve: &dyn Fn(TokenStream) -> TokenStream,
) -> TokenStream {
    let fork_ident = format_ident!("{ident}Fork");
    let fork_doc = format!("Forks to an instance: see [`{ident}::fork`].");
    let try_fork_ident = format_ident!("{ident}TryFork");
    let try_fork_doc = format!("Forks to an instance: see [`{ident}::try_fork`].");
    let calls = methods.iter().map(|method| call(method, resolve));
    let forks = methods.iter().map(|method| fork(method, resolve));
    let try_forks = methods.iter().map(|method| try_fork(method, resolve));
    let common = common(ident, &fork_ident, &try_fork_ident);
    quote! {
        #(#attributes)*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #visibility struct #ident(::ambrosia::Peer);

        #[doc = #fork_doc]
        #[derive(Clone, Copy)]
        #[allow(dead_code, missing_debug_implementations)]
        #visibility struct #fork_ident(::ambrosia::Peer);

        #[doc = #try_fork_doc]
        #[derive(Clone, Copy)]
        #[allow(dead_code, missing_debug_implementations)]
        #visibility struct #try_fork_ident(::ambrosia::Peer);

        #common

        #[allow(dead_code, missing_docs, private_interfaces, clippy::too_many_arguments)]
        impl #ident { #(#calls)* }

        #[allow(dead_code, missing_docs, private_interfaces, clippy::too_many_arguments)]
        impl #fork_ident { #(#forks)* }

        #[allow(dead_code, missing_docs, private_interfaces, clippy::too_many_arguments)]
        impl #try_fork_ident { #(#try_forks)* }
    }
}

fn common(ident: &Ident, fork_ident: &Ident, try_fork_ident: &Ident) -> TokenStream {
    let name = ident.to_string();
    quote! {
        #[allow(dead_code)]
        impl #ident {
            /// The instance called `name`. It need not be running, nor be registered yet.
            ///
            /// Panics if no instance can have that name, which ends this one: use `try_attach` for a caller's names.
            #[must_use]
            pub fn attach(name: &str) -> Self {
                Self(::ambrosia::Peer::attach(name))
            }

            /// The same for a name that may be a wrong one.
            pub fn try_attach(name: &str) -> ::core::result::Result<Self, ::ambrosia::AttachError> {
                ::ambrosia::Peer::try_attach(name).map(Self)
            }

            /// The instance that this runs in.
            #[must_use]
            pub fn me() -> Self {
                Self(::ambrosia::Peer::me())
            }

            /// The name of the instance.
            #[must_use]
            pub fn name(&self) -> ::std::string::String {
                self.0.name()
            }

            /// The same methods, without an answer.
            ///
            /// Panics if a message can't be sent, which ends this instance: use `try_fork` for what callers give.
            #[must_use]
            pub fn fork(&self) -> #fork_ident {
                #fork_ident(self.0)
            }

            /// The same, with an error if a message is too large or nested too deep to be sent.
            #[must_use]
            pub fn try_fork(&self) -> #try_fork_ident {
                #try_fork_ident(self.0)
            }
        }

        impl ::core::convert::From<::ambrosia::Peer> for #ident {
            fn from(peer: ::ambrosia::Peer) -> Self {
                Self(peer)
            }
        }

        impl ::core::fmt::Debug for #ident {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.debug_tuple(#name).field(&self.0).finish()
            }
        }

        impl ::ambrosia::serde::Serialize for #ident {
            fn serialize<S: ::ambrosia::serde::Serializer>(
                &self,
                serializer: S,
            ) -> ::core::result::Result<S::Ok, S::Error> {
                ::ambrosia::serde::Serialize::serialize(&self.0, serializer)
            }
        }

        impl<'de> ::ambrosia::serde::Deserialize<'de> for #ident {
            fn deserialize<D: ::ambrosia::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> ::core::result::Result<Self, D::Error> {
                ::ambrosia::serde::Deserialize::deserialize(deserializer).map(Self)
            }
        }
    }
}

fn call(method: &Method, resolve: &dyn Fn(TokenStream) -> TokenStream) -> TokenStream {
    let Method { ident, id, name, conditions, docs, raw, .. } = method;
    let parameters = parameters(method, resolve);
    let values = values(method);
    let output = resolve(method.output.to_token_stream());
    let (answer, body) = if *raw {
        (quote!(::std::vec::Vec<u8>), quote!(self.0.call_raw_by_id(#id, #name, #values)))
    } else {
        (output, quote!(self.0.call_by_id(#id, #name, #values)))
    };
    quote! {
        #(#conditions)* #(#docs)*
        pub fn #ident(&self, #parameters) -> ::ambrosia::Call<#answer> { #body }
    }
}

fn fork(method: &Method, resolve: &dyn Fn(TokenStream) -> TokenStream) -> TokenStream {
    let Method { ident, id, name, conditions, docs, raw, .. } = method;
    let parameters = parameters(method, resolve);
    let values = values(method);
    let body = if *raw {
        quote!(self.0.fork_raw_by_id(#id, #name, #values))
    } else {
        quote!(self.0.fork_by_id(#id, #name, #values))
    };
    quote! {
        #(#conditions)* #(#docs)*
        #[inline]
        pub fn #ident(&self, #parameters) { #body }
    }
}

fn try_fork(method: &Method, resolve: &dyn Fn(TokenStream) -> TokenStream) -> TokenStream {
    let Method { ident, id, name, conditions, docs, raw, .. } = method;
    let parameters = parameters(method, resolve);
    let values = values(method);
    let body = if *raw {
        quote!(self.0.try_fork_raw_by_id(#id, #name, #values))
    } else {
        quote!(self.0.try_fork_by_id(#id, #name, #values))
    };
    quote! {
        #(#conditions)* #(#docs)*
        #[inline]
        pub fn #ident(&self, #parameters) -> ::core::result::Result<(), ::ambrosia::ForkError> { #body }
    }
}

fn parameters(method: &Method, resolve: &dyn Fn(TokenStream) -> TokenStream) -> TokenStream {
    let parameters = method.arguments.iter().map(|argument| {
        let ident = &argument.ident;
        let ty = match argument.ty.to_token_stream().to_string().as_str() {
            _ if method.raw => quote!(impl ::core::convert::AsRef<[u8]>),
            "String" => quote!(impl ::core::convert::AsRef<str>),
            _ => resolve(argument.ty.to_token_stream()),
        };
        quote!(#ident: #ty,)
    });
    parameters.collect()
}

/// What is sent: a tuple, or the bytes.
fn values(method: &Method) -> TokenStream {
    let values = method.arguments.iter().map(|argument| {
        let ident = &argument.ident;
        match argument.ty.to_token_stream().to_string().as_str() {
            _ if method.raw => quote!(#ident.as_ref()),
            "String" => quote!(#ident.as_ref(),),
            _ => quote!(#ident,),
        }
    });
    let values: TokenStream = values.collect();
    if method.raw { values } else { quote!((#values)) }
}
