//! The interfaces that the host offers, and the list of their names.
//!
//! **Architecture Invariant:** nothing gets on the list that the linker doesn't know.

use std::collections::BTreeSet;

use wasmtime::component::{ComponentNamedList, Lift, Linker, LinkerInstance, Lower, ResourceType, Val};

use crate::{refusal::Refusal, state::GuestState};

/// A function by which generated bindings add an interface to a linker.
pub(crate) type AddToLinker =
    fn(&mut Linker<GuestState>, for<'a> fn(&'a mut GuestState) -> &'a mut GuestState) -> Result<(), wasmtime::Error>;

/// A linker that knows what is in it.
pub(crate) struct Offers {
    linker: Linker<GuestState>,
    names: Names,
    /// Those of them that are of no use.
    denied: Names,
}

/// Interfaces, with as much of their version as counts, and their functions and resources.
type Names = BTreeSet<(String, &'static str)>;

impl Offers {
    pub(crate) fn new(engine: &wasmtime::Engine) -> Self {
        Offers { linker: Linker::new(engine), names: Names::new(), denied: Names::new() }
    }

    /// Begins to offer the interface with that name and version.
    pub(crate) fn interface(&mut self, name: &str) -> Result<Interface<'_>, wasmtime::Error> {
        let (names, denied) = (&mut self.names, &mut self.denied);
        Ok(Interface { instance: self.linker.instance(name)?, compatible: compatible(name), names, denied })
    }

    /// Offers the interface with that name and version by its generated bindings.
    ///
    /// `items` are its functions and resources, for a linker doesn't tell what was added to it. None is forgotten: for
    /// each, the trait of the bindings has a method, and a later version with more doesn't compile. None is invented:
    /// that is an error.
    pub(crate) fn bindings(
        &mut self,
        name: &str,
        items: &[&'static str],
        add: AddToLinker,
    ) -> Result<(), wasmtime::Error> {
        add(&mut self.linker, |state| state)?;
        let mut instance = self.linker.instance(name)?;
        for item in items {
            // What is defined can't be defined again.
            if instance.func_new(item, |_, _, _, _| Ok(())).is_ok() {
                return Err(wasmtime::Error::msg(format!("the bindings of {name} have no {item}")));
            }
            self.names.insert((compatible(name), item));
        }
        Ok(())
    }

    /// True if `interface`, in this or a compatible version, is offered at all.
    pub(crate) fn has_interface(&self, interface: &str) -> bool {
        let wanted = compatible(interface);
        self.names.iter().any(|(offered, _)| *offered == wanted)
    }

    /// True if `interface`, in this or a compatible version, is offered and has that function or resource.
    pub(crate) fn has_item(&self, interface: &str, item: &str) -> bool {
        let wanted = compatible(interface);
        self.names.iter().any(|(offered, name)| *offered == wanted && *name == item)
    }

    /// True if that function of `interface` is there and of no use.
    pub(crate) fn denies(&self, interface: &str, function: &str) -> bool {
        let wanted = compatible(interface);
        self.denied.iter().any(|(offered, name)| *offered == wanted && *name == function)
    }

    pub(crate) fn linker(&self) -> &Linker<GuestState> {
        &self.linker
    }
}

/// One interface while it is defined.
pub(crate) struct Interface<'a> {
    instance: LinkerInstance<'a, GuestState>,
    compatible: String,
    names: &'a mut Names,
    denied: &'a mut Names,
}

impl Interface<'_> {
    /// Offers a function. Parameters and results are tuples.
    pub(crate) fn function<Parameters, Results>(
        &mut self,
        name: &'static str,
        body: impl Fn(&mut GuestState, Parameters) -> Result<Results, Refusal> + Send + Sync + 'static,
    ) -> Result<(), wasmtime::Error>
    where
        Parameters: ComponentNamedList + Lift + 'static,
        Results: ComponentNamedList + Lower + 'static,
    {
        self.names.insert((self.compatible.clone(), name));
        self.instance.func_wrap(name, move |mut store, parameters| Ok(body(store.data_mut(), parameters)?))
    }

    /// Offers a function of whatever type that is always refused.
    pub(crate) fn refused_function(&mut self, name: &'static str, refusal: Refusal) -> Result<(), wasmtime::Error> {
        self.names.insert((self.compatible.clone(), name));
        self.instance.func_new(name, move |_, _, _, _| Err(refusal.clone().into()))
    }

    /// Offers functions that are of no use, since what they take is never made.
    pub(crate) fn refused_functions(
        &mut self,
        names: &[&'static str],
        refusal: &Refusal,
    ) -> Result<(), wasmtime::Error> {
        for name in names {
            self.refused_function(name, refusal.clone())?;
            self.denies(name);
        }
        Ok(())
    }

    /// Offers a function that is of no use: its result is always that error, a case of an enum.
    pub(crate) fn denied_function(&mut self, name: &'static str, error: &'static str) -> Result<(), wasmtime::Error> {
        self.names.insert((self.compatible.clone(), name));
        self.denies(name);
        self.instance.func_new(name, move |_, _, _, results| {
            let error = Some(Box::new(Val::Enum(error.to_owned())));
            results.fill(Val::Result(Err(error)));
            Ok(())
        })
    }

    /// That function is of no use.
    pub(crate) fn denies(&mut self, name: &'static str) {
        self.denied.insert((self.compatible.clone(), name));
    }

    /// Offers a resource. `dropped` is told the rep of each handle that the guest drops.
    pub(crate) fn resource<T: 'static>(
        &mut self,
        name: &'static str,
        dropped: fn(&mut GuestState, u32),
    ) -> Result<(), wasmtime::Error> {
        self.names.insert((self.compatible.clone(), name));
        self.instance.resource(name, ResourceType::host::<T>(), move |mut store, rep| {
            dropped(store.data_mut(), rep);
            Ok(())
        })
    }
}

/// The name with as much of its version as must be equal: the rule by which wasmtime links, which is that of semver.
pub(crate) fn compatible(interface: &str) -> String {
    let Some((name, version)) = interface.split_once('@') else {
        return interface.to_owned();
    };
    let mut numbers = version.split('.');
    match (numbers.next(), numbers.next()) {
        _ if version.contains(['-', '+']) => interface.to_owned(),
        (Some("0"), Some(minor)) if minor != "0" => format!("{name}@0.{minor}"),
        (Some(major), _) if major != "0" => format!("{name}@{major}"),
        _ => interface.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::compatible;

    #[test]
    fn versions_are_compatible_as_in_semver() {
        for (full, expected) in [
            ("wasi:io/poll@0.2.6", "wasi:io/poll@0.2"),
            ("wasi:io/poll@1.2.6", "wasi:io/poll@1"),
            ("wasi:io/poll@0.0.6", "wasi:io/poll@0.0.6"),
            ("wasi:io/poll@0.3.0-rc-1", "wasi:io/poll@0.3.0-rc-1"),
            ("wasi:io/poll", "wasi:io/poll"),
        ] {
            assert_eq!(compatible(full), expected);
        }
    }
}
