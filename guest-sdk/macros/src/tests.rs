//! What wrong uses are told, and that right ones expand.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Item, Macro};

use crate::{immortal, interface, state};

/// The texts of all `compile_error!`s in an expansion.
fn errors(expansion: TokenStream) -> Vec<String> {
    let file: syn::File = syn::parse2(expansion).expect("an expansion is a list of items");
    let macros = file.items.iter().filter_map(|item| match item {
        Item::Macro(item) => Some(&item.mac),
        _ => None,
    });
    macros.filter(|mac| mac.path.segments.last().is_some_and(|name| name.ident == "compile_error")).map(text).collect()
}

fn text(error: &Macro) -> String {
    error.parse_body::<syn::LitStr>().expect("an error has a text").value()
}

fn immortal_errors(methods: TokenStream) -> Vec<String> {
    errors(immortal::expand(quote!(), quote!(impl Server { #methods })))
}

fn interface_errors(methods: TokenStream) -> Vec<String> {
    errors(interface::expand(quote!(), quote!(trait Server { #methods })))
}

/// Exactly one error, which says `expected`.
#[track_caller]
fn check(errors: &[String], expected: &str) {
    assert!(matches!(errors, [one] if one.contains(expected)), "{errors:#?}\nshould be one that says: {expected}");
}

#[test]
fn right_uses_expand() {
    let methods = quote! {
        const LIMIT: u32 = 3;
        fn on_first_start(&mut self) {}
        async fn on_becoming_primary(this: This<Self>) {}
        fn add(&mut self, n: u64, mut text: String) -> u64 { n }
        fn total(&self) -> Result<u64, String> { Ok(0) }
        async fn transfer(this: ambrosia::This<Self>, to: ServerProxy) -> bool { true }
        fn begin(_: This<Self>) {}
        #[ambrosia(raw)]
        fn receive(&mut self, bytes: &[u8]) {}
        #[ambrosia(raw)]
        async fn digest(this: This<Self>, bytes: Vec<u8>) -> Vec<u8> { bytes }
        #[ambrosia(name = "name")]
        fn its_name(&self) -> String { String::new() }
        #[ambrosia(helper)]
        fn helper<T>(value: &T) -> &T { value }
    };
    assert_eq!(immortal_errors(methods), Vec::<String>::new());
    let methods = quote! {
        fn add(n: u64, text: String) -> u64;
        fn total(&self) -> Result<u64, String>;
        #[ambrosia(raw)]
        fn receive(bytes: &[u8]);
    };
    assert_eq!(interface_errors(methods), Vec::<String>::new());
}

#[test]
fn a_query_changes_nothing_and_awaits_nothing() {
    for method in [
        quote!(
            fn total(&mut self) -> u64 {
                0
            }
        ),
        quote!(
            fn total(this: This<Self>) -> u64 {
                0
            }
        ),
        quote!(
            async fn total(this: This<Self>) -> u64 {
                0
            }
        ),
    ] {
        check(&immortal_errors(quote!(#[ambrosia(query)] #method)), "write `fn total(&self, ..)`");
    }
    let raw = quote!(
        #[ambrosia(query, raw)]
        fn total(&self, bytes: &[u8]) {}
    );
    check(&immortal_errors(raw), "`total` is raw");
    check(
        &immortal_errors(quote!(
            #[ambrosia(query)]
            fn on_first_start(&self) {}
        )),
        "no message names it",
    );
    check(
        &interface_errors(quote!(
            #[ambrosia(query)]
            fn total() -> u64;
        )),
        "belong to the instance that has the method",
    );
    assert_eq!(
        immortal_errors(quote!(
            #[ambrosia(query)]
            fn total(&self) -> u64 {
                0
            }
        )),
        Vec::<String>::new()
    );
}

/// Whether a method is described as a query.
fn is_query(method: TokenStream) -> bool {
    let expanded = crate::immortal::expand(TokenStream::new(), quote!(impl Server { #method })).to_string();
    assert!(!expanded.contains("compile_error"), "{expanded}");
    expanded.contains("MethodKind :: Query")
}

#[test]
fn what_borrows_the_state_and_gives_something_back_is_a_query() {
    assert!(is_query(quote!(
        fn total(&self) -> u64 {
            0
        }
    )));
    assert!(is_query(quote!(
        #[ambrosia(query)]
        fn total(&self) {}
    )));
    for update in [
        quote!(
            fn total(&mut self) -> u64 {
                0
            }
        ),
        quote!(
            fn greet(&self) {}
        ),
        quote!(
            fn greet(&self) -> () {}
        ),
        quote!(
            async fn total(this: This<Self>) -> u64 {
                0
            }
        ),
        quote!(
            #[ambrosia(raw)]
            fn total(&self, bytes: &[u8]) -> Vec<u8> {
                vec![]
            }
        ),
        quote!(
            #[ambrosia(update)]
            fn total(&self) -> u64 {
                0
            }
        ),
        quote!(
            #[ambrosia(cron = "0 3 * * *")]
            fn total(&self) -> u64 {
                0
            }
        ),
        quote!(
            #[ambrosia(helper)]
            fn total(&self) -> u64 {
                0
            }
        ),
    ] {
        assert!(!is_query(update.clone()), "{update}");
    }
    let both = quote!(
        #[ambrosia(query, update)]
        fn total(&self) -> u64 {
            0
        }
    );
    check(&immortal_errors(both), "a query or an update, not both");
}

/// What is told of a method with that attribute, those arguments, and that receiver.
fn scheduled_errors(attribute: TokenStream, arguments: TokenStream) -> Vec<String> {
    immortal_errors(quote!(#[ambrosia(#attribute)] fn report(&mut self, #arguments) {}))
}

#[test]
fn a_schedule_is_an_expression_that_can_be_read() {
    for cron in [
        "0 3 * * *",
        "*/5 0-6,22 1,15 jan-JUN mon-fri",
        "*/10 * * * * *",
        "0 0 L * 5#2",
        "0 0 15W * ?",
        "@daily",
        "0 0 * * 1-0",
        "59 23 31 12 7",
    ] {
        assert_eq!(scheduled_errors(quote!(cron = #cron), quote!()), Vec::<String>::new(), "{cron}");
    }
    for (cron, said) in [
        ("0 3 * *", "this has 4 fields: write minute, hour"),
        ("daily", "this has 1 field"),
        ("60 3 * * *", "the minute can't be `60`: `60` is no number from 0 to 59"),
        ("0 24 * * *", "the hour can't be `24`"),
        ("0 3 0 * *", "the day of the month can't be `0`"),
        ("0 3 * Sol *", "`Sol` is no number from 1 to 12, nor a name such as `FEB`"),
        ("0 3 * * 8", "the day of the week can't be `8`"),
        ("0 9-3 * * *", "9 is not before 3"),
        ("*/0 * * * *", "`0` is no step from 1 to 59"),
        ("0 3 * * ,", "the day of the week can't be `,`"),
    ] {
        check(&scheduled_errors(quote!(cron = #cron), quote!()), said);
    }
}

#[test]
fn what_runs_by_itself_takes_nothing_or_the_time() {
    let cron = quote!(cron = "0 3 * * *", zone = "America/Argentina/Buenos_Aires", missed = "all");
    for arguments in [quote!(), quote!(due: ambrosia::Timestamp), quote!(due: Timestamp)] {
        assert_eq!(scheduled_errors(cron.clone(), arguments), Vec::<String>::new());
    }
    for arguments in [quote!(n: u64), quote!(due: Timestamp, n: u64)] {
        check(&scheduled_errors(cron.clone(), arguments), "it takes nothing, or the time at which it is due");
    }
    check(&scheduled_errors(quote!(#cron, raw), quote!(bytes: &[u8])), "`report` is raw");
    let query = quote!(
        #[ambrosia(query, #cron)]
        fn report(&self) {}
    );
    check(&immortal_errors(query), "`report` is a query, which changes nothing");
    check(
        &immortal_errors(quote!(
            #[ambrosia(#cron)]
            fn on_first_start(&mut self) {}
        )),
        "no message names it",
    );
    check(
        &interface_errors(quote!(
            #[ambrosia(#cron)]
            fn report();
        )),
        "belong to the instance that has the method",
    );
}

#[test]
fn a_schedule_says_each_thing_once_and_nothing_without_a_time() {
    check(&scheduled_errors(quote!(zone = "Europe/Berlin"), quote!()), "has no `cron = \"..\"`");
    check(&scheduled_errors(quote!(missed = "all"), quote!()), "has no `cron = \"..\"`");
    check(&scheduled_errors(quote!(cron = "0 3 * * *", cron = "0 4 * * *"), quote!()), "a method runs by one schedule");
    check(&scheduled_errors(quote!(cron = "0 3 * * *", missed = "two"), quote!()), "`\"one\"` run for all");
    for zone in ["", "Europe/", "+01:00", "Europe/Ber lin"] {
        check(&scheduled_errors(quote!(cron = "0 3 * * *", zone = #zone), quote!()), "such as \"Europe/Berlin\"");
    }
}

/// What is told of an update, and of a query, with that attribute; both take `name` and `n`.
fn routed_errors(attribute: TokenStream) -> Vec<String> {
    immortal_errors(quote!(
        #[ambrosia(#attribute)]
        fn set(&mut self, name: String, n: u64) {}
    ))
}

fn routed_query_errors(attribute: TokenStream) -> Vec<String> {
    immortal_errors(quote!(
        #[ambrosia(query, #attribute)]
        fn find(&self, name: String, n: u64) -> u64 {
            n
        }
    ))
}

#[test]
fn a_route_is_a_path_of_segments() {
    for path in ["/", "/a", "/a/{name}/b/{n}", "/{n}", "/a.b/~c/d:e@f", "/*"] {
        assert_eq!(routed_errors(quote!(post = #path)), Vec::<String>::new(), "{path}");
        assert_eq!(routed_query_errors(quote!(get = #path)), Vec::<String>::new(), "{path}");
    }
    for (path, said) in [
        ("", "a path begins with `/`"),
        ("a/{name}", "a path begins with `/`: write \"/a/{name}\""),
        ("/a/", "something between two slashes"),
        ("/a//b", "something between two slashes"),
        ("/a/./b", "no segment `.`"),
        ("/a b", "' ' in it"),
        ("/a%20b", "'%' in it"),
        ("/ä", "'ä' in it"),
        ("/a?n={n}", "`a?n={n}` is no placeholder"),
        ("/a-{name}", "`a-{name}` is no placeholder: one is a whole segment"),
        ("/{*name}", "no argument `*name`"),
        ("/{}", "`{}` is no placeholder"),
        ("/{other}", "`set` has no argument `other` for the placeholder `{other}`: it has `name`, `n`"),
        ("/{name}/{name}", "the placeholder `{name}` stands in the path twice"),
    ] {
        check(&routed_errors(quote!(put = #path)), said);
    }
    check(
        &routed_errors({
            let long = format!("/{}", "x".repeat(1024));
            quote!(put = #long)
        }),
        "1024 bytes at most",
    );
    check(
        &routed_errors({
            let deep = "/x".repeat(33);
            quote!(put = #deep)
        }),
        "32 segments at most",
    );
    let keyword = quote!(
        #[ambrosia(delete = "/x/{type}")]
        fn set(&mut self, r#type: String) {}
    );
    assert_eq!(immortal_errors(keyword), Vec::<String>::new());
}

#[test]
fn get_is_for_queries_and_all_else_for_what_is_none() {
    check(&routed_errors(quote!(get = "/a")), "write `fn set(&self, ..) -> ..`, or `post`");
    for verb in [quote!(post), quote!(put), quote!(patch), quote!(delete)] {
        assert_eq!(routed_errors(quote!(#verb = "/a")), Vec::<String>::new());
        check(&routed_query_errors(quote!(#verb = "/a")), "`find` is a query");
    }
    // What is obviously a query need not say so, and an update has to.
    let borrows = |attribute: TokenStream| {
        immortal_errors(quote!(
            #[ambrosia(#attribute)]
            fn find(&self) -> u64 {
                0
            }
        ))
    };
    assert_eq!(borrows(quote!(get = "/a")), Vec::<String>::new());
    check(&borrows(quote!(post = "/a")), "`find` is a query");
    assert_eq!(borrows(quote!(update, post = "/a")), Vec::<String>::new());
    check(&borrows(quote!(update, get = "/a")), "`find` is no query");
    check(
        &immortal_errors(quote!(
            #[ambrosia(raw, post = "/a")]
            fn swallow(&mut self, bytes: &[u8]) {}
        )),
        "`swallow` is raw",
    );
    check(
        &immortal_errors(quote!(
            #[ambrosia(helper, post = "/a")]
            fn help(&mut self) {}
        )),
        "a helper is no method",
    );
    check(
        &immortal_errors(quote!(
            #[ambrosia(post = "/a")]
            fn on_first_start(&mut self) {}
        )),
        "no message names it",
    );
    check(
        &interface_errors(quote!(
            #[ambrosia(get = "/a")]
            fn total() -> u64;
        )),
        "belong to the instance that has the method",
    );
    check(&routed_errors(quote!(head = "/a")), "`get = \"/..\"` (or `post`, `put`");
}

#[test]
fn two_routes_are_never_for_the_same_requests() {
    let two = |first: &str, second: &str| {
        immortal_errors(quote! {
            #[ambrosia(post = #first)]
            fn one(&mut self, a: u64, b: u64) {}
            #[ambrosia(post = #second)]
            fn two(&mut self, a: u64, b: u64) {}
        })
    };
    for (first, second) in [("/x", "/x"), ("/x/{a}", "/x/{b}"), ("/{a}/{b}", "/{b}/{a}"), ("/", "/")] {
        check(&two(first, second), "`one` has a route for the same requests, POST /");
    }
    for (first, second) in [("/x", "/y"), ("/x/{a}", "/x/y"), ("/x/{a}", "/{b}/x"), ("/x", "/x/{a}")] {
        assert_eq!(two(first, second), Vec::<String>::new(), "{first} {second}");
    }
    check(&routed_errors(quote!(post = "/x", put = "/x", post = "/x")), "`set` has a route for the same requests");
    let conditions = quote! {
        #[cfg(a)]
        #[ambrosia(post = "/x")]
        fn one(&mut self) {}
        #[cfg(not(a))]
        #[ambrosia(post = "/x")]
        fn two(&mut self) {}
    };
    assert_eq!(immortal_errors(conditions), Vec::<String>::new());
}

#[test]
fn former_names_must_not_clash() {
    let clash = quote! {
        fn add(&mut self) {}
        #[ambrosia(formerly = "plus", formerly = "add")]
        fn sum(&mut self) {}
    };
    check(&immortal_errors(clash), "two methods called `add`");
    let hash = quote! {
        #[ambrosia(formerly = "costarring")]
        fn add(&mut self) {}
        fn liquid(&mut self) {}
    };
    check(&immortal_errors(hash), "same 32-bit hash");
    check(
        &immortal_errors(quote!(
            #[ambrosia(formerly = "")]
            fn add(&mut self) {}
        )),
        "can't be empty",
    );
    check(
        &interface_errors(quote!(
            #[ambrosia(formerly = "plus")]
            fn add();
        )),
        "belong to the instance that has the method",
    );
}

#[test]
fn an_async_handler_cannot_borrow_the_state() {
    let errors = immortal_errors(quote!(
        async fn transfer(&mut self) {}
    ));
    check(&errors, "the borrow can't last");
    check(&errors, "async fn transfer(this: ambrosia::This<Self>, ..)");
    check(
        &immortal_errors(quote!(
            async fn on_first_start(&self) {}
        )),
        "the borrow can't last",
    );
}

#[test]
fn a_handler_needs_a_receiver() {
    check(
        &immortal_errors(quote!(
            fn add(n: u64) {}
        )),
        "`add` has no receiver",
    );
    check(
        &immortal_errors(quote!(
            fn add() {}
        )),
        "#[ambrosia(helper)]",
    );
    check(
        &immortal_errors(quote!(
            fn add(self) {}
        )),
        "write `&mut self`",
    );
    check(
        &immortal_errors(quote!(
            fn add(self: Box<Self>) {}
        )),
        "write `&mut self`",
    );
}

#[test]
fn a_handler_is_concrete() {
    check(
        &immortal_errors(quote!(
            fn add<T>(&mut self, n: T) {}
        )),
        "`add` is generic",
    );
    check(
        &immortal_errors(quote!(
            fn add<'a>(&'a mut self) {}
        )),
        "`add` is generic",
    );
    check(
        &immortal_errors(quote!(
            fn add(&mut self, n: impl Into<u64>) {}
        )),
        "not `impl Trait`",
    );
    check(
        &immortal_errors(quote!(
            fn all(&self) -> impl Iterator<Item = u64> {
                0..3
            }
        )),
        "returns `impl Trait`",
    );
    check(
        &immortal_errors(quote!(
            unsafe fn add(&mut self) {}
        )),
        "`add` is unsafe",
    );
}

#[test]
fn what_travels_is_owned() {
    check(
        &immortal_errors(quote!(
            fn add(&mut self, text: &str) {}
        )),
        "can't be a reference",
    );
    check(
        &immortal_errors(quote!(
            fn text(&self) -> &str {
                ""
            }
        )),
        "returns a reference",
    );
    check(
        &interface_errors(quote!(
            fn add(text: &str);
        )),
        "can't be a reference",
    );
}

#[test]
fn an_argument_has_a_plain_name() {
    check(
        &immortal_errors(quote!(
            fn add(&mut self, (a, b): (u64, u64)) {}
        )),
        "needs a plain name",
    );
    check(
        &immortal_errors(quote!(
            fn add(&mut self, _: u64) {}
        )),
        "needs a plain name",
    );
    check(
        &immortal_errors(quote!(
            fn add(&mut self, a @ 1..: u64) {}
        )),
        "needs a plain name",
    );
}

#[test]
fn a_message_names_one_method() {
    let twice = quote!(
        fn add(&mut self) {}
        fn add(&mut self, n: u64) {}
    );
    check(&immortal_errors(twice), "two methods called `add`");
    let renamed = quote!(
        fn add(&mut self) {}
        #[ambrosia(name = "add")]
        fn plus(&mut self) {}
    );
    check(&immortal_errors(renamed), "two methods called `add`");
    let colliding = quote!(
        fn costarring(&mut self) {}
        fn liquid(&mut self) {}
    );
    check(&immortal_errors(colliding), "`costarring` and `liquid` have the same 32-bit hash, 0x5e4daa9d");
    check(
        &interface_errors(quote!(
            fn costarring();
            fn liquid();
        )),
        "have the same 32-bit hash",
    );
}

#[test]
fn names_of_the_proxy_are_reserved() {
    check(
        &immortal_errors(quote!(
            fn fork(&mut self) {}
        )),
        "`fork` is reserved",
    );
    check(
        &interface_errors(quote!(
            fn name() -> String;
        )),
        "#[ambrosia(name = \"name\")]",
    );
}

#[test]
fn hooks_are_run_by_the_host() {
    check(
        &immortal_errors(quote!(
            fn on_first_start(&mut self, n: u64) {}
        )),
        "has no arguments for it",
    );
    check(
        &immortal_errors(quote!(
            fn on_becoming_primary() {}
        )),
        "has no receiver",
    );
    check(
        &immortal_errors(quote!(
            #[ambrosia(raw)]
            fn on_first_start(&mut self) {}
        )),
        "no message names it",
    );
}

#[test]
fn raw_means_bytes() {
    check(
        &immortal_errors(quote!(
            #[ambrosia(raw)]
            fn receive(&mut self) {}
        )),
        "takes one argument",
    );
    check(
        &immortal_errors(quote!(
            #[ambrosia(raw)]
            fn receive(&mut self, n: u64) {}
        )),
        "`&[u8]` or `Vec<u8>`",
    );
    let held = quote!(
        #[ambrosia(raw)]
        async fn receive(this: This<Self>, bytes: &[u8]) {}
    );
    check(&immortal_errors(held), "gone after an await");
    check(
        &immortal_errors(quote!(
            #[ambrosia(row)]
            fn receive(&mut self) {}
        )),
        "expected `raw`, `query`, `update`, `restart`, `helper`, `name",
    );
}

#[test]
fn an_immortal_is_a_plain_block() {
    let expand = |item| errors(immortal::expand(quote!(), item));
    check(&expand(quote!(impl Clone for Server {})), "a trait can't be an immortal");
    check(
        &expand(quote!(
            impl<T> Server<T> {}
        )),
        "can't be generic",
    );
    check(&expand(quote!(impl other::Server {})), "of this module");
    check(&expand(quote!(impl [u8] {})), "of this module");
    check(
        &expand(quote!(
            struct Server;
        )),
        "goes on an `impl` block",
    );
    check(
        &errors(immortal::expand(quote!(fast), quote!(impl Server {}))),
        "the options are `no_upgrade` and `no_exports`",
    );
}

/// The compiler says that the name is defined twice, and shows where.
#[test]
fn two_blocks_define_a_name_that_says_what_is_wrong() {
    let expanded = |options| immortal::expand(options, quote!(impl Server {})).to_string();
    let exported = expanded(quote!());
    assert!(exported.contains("all_handlers_of_Server_stand_in_one_immortal_block"), "{exported}");
    let crate_wide = "macro_rules ! a_component_is_one_immortal_and_others_are_marked_no_exports";
    assert!(exported.contains(crate_wide), "{exported}");
    assert!(!expanded(quote!(no_exports)).contains(crate_wide));
}

#[test]
fn an_interface_is_a_plain_list() {
    let expand = |item| errors(interface::expand(quote!(), item));
    check(
        &expand(quote!(
            trait Server<T> {}
        )),
        "can't be generic",
    );
    check(
        &expand(quote!(
            trait Server: Clone {}
        )),
        "no supertraits",
    );
    check(
        &expand(quote!(
            struct Server;
        )),
        "goes on a trait",
    );
    check(
        &interface_errors(quote!(
            const N: u32;
        )),
        "lists methods only",
    );
    check(
        &interface_errors(quote!(
            fn add() {}
        )),
        "not how",
    );
    check(
        &interface_errors(quote!(
            async fn add();
        )),
        "every caller awaits",
    );
    check(
        &interface_errors(quote!(
            #[ambrosia(helper)]
            fn add();
        )),
        "no helpers",
    );
}

#[test]
fn all_errors_are_shown_at_once() {
    let methods = quote!(
        fn one(n: u64) {}
        async fn two(&mut self) {}
        fn three(&mut self, text: &str) {}
    );
    assert_eq!(immortal_errors(methods).len(), 3);
}

#[test]
fn what_can_be_upgraded_is_said_where_it_means_something() {
    let restart = |function| immortal_errors(quote!(#[ambrosia(restart)] #function));
    assert_eq!(
        restart(quote!(
            async fn poll(this: This<Self>, n: u64) {}
        )),
        Vec::<String>::new()
    );
    assert_eq!(
        restart(quote!(
            async fn on_becoming_primary(this: This<Self>) {}
        )),
        Vec::<String>::new()
    );
    check(
        &restart(quote!(
            fn poll(&mut self) {}
        )),
        "`poll` is not async",
    );
    check(
        &restart(quote!(
            async fn on_upgrade(this: This<Self>) {}
        )),
        "leave out `restart`",
    );
    check(
        &interface_errors(quote!(
            #[ambrosia(restart)]
            fn poll();
        )),
        "belong to the instance that has the method",
    );
    let hook = quote!(
        impl Server {
            fn on_upgrade(&mut self) {}
        }
    );
    assert_eq!(errors(immortal::expand(quote!(), hook.clone())), Vec::<String>::new());
    check(&errors(immortal::expand(quote!(no_exports, no_upgrade), hook)), "`on_upgrade` never runs");
}

#[test]
fn a_state_is_a_plain_type_with_a_version() {
    let expand = |options, item| errors(state::expand(options, item));
    let server = quote!(
        struct Server {
            n: u64,
        }
    );
    for options in [quote!(), quote!(version = 2), quote!(version = 2, from = v1::Server), quote!(own_default)] {
        assert_eq!(expand(options, server.clone()), Vec::<String>::new());
    }
    assert_eq!(
        expand(
            quote!(),
            quote!(
                struct Server;
            )
        ),
        Vec::<String>::new()
    );
    assert_eq!(
        expand(
            quote!(),
            quote!(
                enum Server {
                    #[default]
                    Off,
                    On,
                }
            )
        ),
        Vec::<String>::new()
    );
    check(&expand(quote!(from = Old), server.clone()), "write `version = 2` beside it");
    check(&expand(quote!(version = 0), server.clone()), "counted from 1");
    check(&expand(quote!(number = 2), server), "the options are `version = N`");
    check(
        &expand(
            quote!(),
            quote!(
                struct Server<T>(T);
            ),
        ),
        "can't be generic",
    );
    check(&expand(quote!(), quote!(union Server { n: u64 })), "goes on a struct or an enum");
    check(&expand(quote!(), quote!(impl Server {})), "goes on a struct or an enum");
}

#[test]
fn what_is_derived_beside_a_state_is_not_derived_twice() {
    let expanded = |item| state::expand(quote!(), item).to_string().replace(' ', "");
    let all = expanded(quote!(
        #[derive(Debug)]
        struct Server {
            n: u64,
        }
    ));
    assert!(all.contains("#[derive(::core::default::Default)]"), "{all}");
    assert!(all.contains("#[derive(::ambrosia::serde::Serialize,::ambrosia::serde::Deserialize)]"), "{all}");
    assert!(all.contains("#[serde(default)]"), "{all}");
    let none = expanded(quote!(
        #[derive(Default, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        struct Server {
            n: u64,
        }
    ));
    assert_eq!(none.matches("derive(").count(), 1, "{none}");
    assert_eq!(none.matches("serde(default)").count(), 1, "{none}");
}
