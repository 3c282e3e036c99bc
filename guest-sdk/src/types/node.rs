//! What is known of a type so far: a tree with parts that are not known yet.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

/// A part of a type. A clone is the same part.
#[derive(Clone)]
pub(crate) struct Node(Rc<Inner>);

struct Inner {
    what: RefCell<What>,
    /// Whether it is referred to from within, so that it needs a name.
    is_named: Cell<bool>,
}

/// What a part is.
#[derive(Clone)]
pub(crate) enum What {
    Unknown,
    /// A type that has no parts, or `any`.
    Plain(&'static str),
    /// A struct of one field, which is written as what is in it.
    Thin(Node),
    Option(Node),
    List(Node),
    Tuple(Vec<Node>),
    Map(Node, Node),
    Record {
        name: &'static str,
        fields: Vec<(&'static str, Node)>,
    },
    /// A case without anything is one that is `None` once it is known.
    Variant {
        name: &'static str,
        cases: Vec<(&'static str, Case)>,
    },
    /// The record or variant around it.
    Reference(Node),
}

/// What a case of a variant holds.
#[derive(Clone)]
pub(crate) enum Case {
    Unknown,
    Nothing,
    Holds(Node),
}

impl Node {
    pub(crate) fn unknown() -> Node {
        Node(Rc::new(Inner { what: RefCell::new(What::Unknown), is_named: Cell::new(false) }))
    }

    pub(crate) fn many(count: usize) -> Vec<Node> {
        (0..count).map(|_| Node::unknown()).collect()
    }

    pub(crate) fn what(&self) -> What {
        self.0.what.borrow().clone()
    }

    /// Notes what it is.
    pub(crate) fn set(&self, what: What) {
        *self.0.what.borrow_mut() = what;
    }

    /// Notes what it is if that is not known, and says what is known.
    pub(crate) fn become_if_unknown(&self, what: impl FnOnce() -> What) -> What {
        if self.is_unknown() {
            self.set(what());
        }
        self.what()
    }

    /// Notes what a case holds.
    pub(crate) fn set_case(&self, at: usize, case: Case) {
        if let What::Variant { cases, .. } = &mut *self.0.what.borrow_mut() {
            cases[at].1 = case;
        }
    }

    pub(crate) fn set_named(&self) {
        self.0.is_named.set(true);
    }

    pub(crate) fn is_named(&self) -> bool {
        self.0.is_named.get()
    }

    pub(crate) fn is(&self, other: &Node) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn is_unknown(&self) -> bool {
        matches!(*self.0.what.borrow(), What::Unknown)
    }

    /// Whether nothing in it is unknown.
    pub(crate) fn is_done(&self) -> bool {
        match &*self.0.what.borrow() {
            What::Unknown => false,
            What::Plain(_) | What::Reference(_) => true,
            What::Thin(of) | What::Option(of) | What::List(of) => of.is_done(),
            What::Tuple(of) => of.iter().all(Node::is_done),
            What::Map(key, value) => key.is_done() && value.is_done(),
            What::Record { fields, .. } => fields.iter().all(|(_, field)| field.is_done()),
            What::Variant { cases, .. } => cases.iter().all(|(_, case)| case.is_done()),
        }
    }

    /// Takes what could not be found out for anything.
    pub(crate) fn give_up_first_unknown(&self) {
        match self.what() {
            What::Unknown => self.set(What::Plain("any")),
            What::Plain(_) | What::Reference(_) => {}
            What::Thin(of) | What::Option(of) | What::List(of) => of.give_up_first_unknown(),
            What::Tuple(of) => give_up(of.iter()),
            What::Map(key, value) => give_up([&key, &value].into_iter()),
            What::Record { fields, .. } => give_up(fields.iter().map(|(_, field)| field)),
            What::Variant { cases, .. } => {
                let Some(at) = cases.iter().position(|(_, case)| !case.is_done()) else { return };
                if let Case::Holds(of) = &cases[at].1 {
                    of.give_up_first_unknown();
                } else {
                    let any = Node::unknown();
                    any.set(What::Plain("any"));
                    self.set_case(at, Case::Holds(any));
                }
            }
        }
    }
}

fn give_up<'a>(mut parts: impl Iterator<Item = &'a Node>) {
    if let Some(part) = parts.find(|part| !part.is_done()) {
        part.give_up_first_unknown();
    }
}

impl Case {
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Case::Unknown => false,
            Case::Nothing => true,
            Case::Holds(of) => of.is_done(),
        }
    }
}
