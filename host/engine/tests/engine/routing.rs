//! Components that tell where their methods are asked over HTTP, and those that do not.

use ambrosia_core::MethodId;
use ambrosia_engine::ModuleError;
use ambrosia_methods::{Method, RouteError};

use crate::{
    ENGINE,
    guests::{ECHO, Wat},
    module,
};

const TEXT: &str = include_str!("routing.wat");

/// The methods of the component with those changes in its text.
fn methods(changes: &[(&str, &str)]) -> Result<Vec<Method>, ModuleError> {
    let text = changes.iter().fold(TEXT.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    let bytes = wat::parse_str(text).expect("the text is right");
    ENGINE.load(&bytes)?.methods()
}

#[test]
fn a_component_that_tells_routes_has_them_and_one_that_does_not_has_none() {
    let told = methods(&[]).expect("all is well");
    assert_eq!(told[0].routes.iter().map(ToString::to_string).collect::<Vec<_>>(), ["POST /go/PATH"]);
    let without = methods(&[("(export \"ambrosia:runtime/routing@0.2.0\" (instance $routing))", "")]);
    assert_eq!(without.expect("it need not tell any")[0].routes, []);
    // Nor does one of an earlier version.
    assert_eq!(module(&Wat::deliver(ECHO)).methods().expect("it has none"), []);
}

#[test]
fn a_component_that_tells_routes_which_can_not_be_is_refused() {
    let path = |path: &str| methods(&[("\"/go/PATH\"", &format!("{path:?}"))]).expect_err(path);
    for bad in ["go/there", "/go//out", "/go/{no}", "/go?n={}"] {
        assert!(matches!(path(bad), ModuleError::WrongRoute(_)), "{bad}");
    }
    let error = path("/go/{no}").to_string();
    assert!(error.contains("a placeholder `{no}`, and the method go() has no such argument"), "{error}");
    // GET, and of a method that is none.
    let get = methods(&[("\\01\\00\\00\\00\\10\\01\\00\\00\\08", "\\00\\00\\00\\00\\10\\01\\00\\00\\08")]);
    assert!(matches!(get, Err(ModuleError::WrongRoute(RouteError::NoQuery { .. }))), "{get:?}");
    let id = |first: u8| format!("(i32.const 128) \"\\{first:02x}");
    let first = MethodId::of("go").0.to_le_bytes()[0];
    let nobody = methods(&[(&id(first), &id(!first))]).expect_err("another id").to_string();
    assert!(
        nobody.contains("route POST \"/go/PATH\" is for a method with the id") && nobody.contains("there is none"),
        "{nobody}"
    );
}

#[test]
fn an_export_of_another_type_is_refused() {
    let other =
        methods(&[("(record (field \"method\" u32)", "(record (field \"other\" u32)")]).expect_err("another record");
    assert!(matches!(&other, ModuleError::WrongExport { name, .. } if name.contains("routing")), "{other}");
    let without = methods(&[("(export \"routes\" (func $routes) (func (result (list $told-route))))", "")]);
    let without = without.expect_err("no function").to_string();
    assert!(without.contains("it has no function `routes`"), "{without}");
}

#[test]
fn a_trap_while_routes_are_told_is_one_while_methods_are() {
    let trapped = methods(&[("(result i32) (i32.const 8)", "(result i32) unreachable")]).expect_err("it traps");
    assert!(matches!(trapped, ModuleError::Describe(_)), "{trapped}");
}
