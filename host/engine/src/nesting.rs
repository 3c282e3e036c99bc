//! Which components a component contains, and which of them it instantiates how often.
//!
//! A few nested components that each instantiate the one before twice are a kilobyte, and more instances than there is
//! time to compile. So they are counted first.
//!
//! **Architecture Invariant:** nothing is compiled or validated here, and it takes time in proportion to the bytes.

use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, Encoding,
    Instance, Parser, Payload,
};

use crate::error::ModuleError;

/// How deep components may lie in each other; the component itself is the first.
pub(crate) const DEPTH_MAX: usize = 16;

/// Instances of core modules and of components that a component may consist of.
pub(crate) const INSTANCES_MAX: u64 = 1000;

/// All components of a component by number: in the order in which they begin, so that it is 0 itself.
#[derive(Default)]
pub(crate) struct Nesting {
    components: Vec<Contents>,
}

/// What one component makes when it is instantiated.
#[derive(Default)]
struct Contents {
    core_instances: u64,
    /// The components that are instantiated, in order, by number. `None` is one that came from elsewhere.
    instantiated: Vec<Option<usize>>,
    /// Its index space of components. What is in it was read to its end.
    index_space: Vec<Option<usize>>,
    /// Instances that an instance of it consists of, itself among them.
    count: u64,
}

impl Nesting {
    /// Reads it from the bytes of a component.
    ///
    /// # Errors
    /// [`ModuleError::Nesting`] if it is more than can be compiled, [`ModuleError::Compile`] if the bytes are damaged.
    pub(crate) fn of(component: &[u8]) -> Result<Nesting, ModuleError> {
        let mut reader = Reader::default();
        let read = reader.read(component).map_err(|error| ModuleError::Compile(error.to_string()))?;
        read.map_err(|what| ModuleError::Nesting { what })?;
        Ok(reader.nesting)
    }

    /// The components that the component with that number instantiates, in order.
    pub(crate) fn instantiated(&self, component: usize) -> impl Iterator<Item = usize> {
        let targets = self.components.get(component).map_or(&[][..], |contents| &contents.instantiated);
        targets.iter().map(|target| target.expect("what came from elsewhere was refused"))
    }

    /// The component with that number is read to its end, and so are all that it instantiates.
    fn count(&mut self, component: usize) -> Result<(), String> {
        let contents = &self.components[component];
        let mut count = contents.core_instances.saturating_add(1);
        for target in &contents.instantiated {
            let target = target.ok_or("one of them instantiates a component that it was given")?;
            count = count.saturating_add(self.components[target].count);
        }
        if count > INSTANCES_MAX {
            return Err(format!("it consists of more than {INSTANCES_MAX} instances"));
        }
        self.components[component].count = count;
        Ok(())
    }
}

/// Goes through a component.
#[derive(Default)]
struct Reader {
    nesting: Nesting,
    /// Numbers of the components that the payload at hand is in, and the modules, which have none.
    inside: Vec<Option<usize>>,
}

impl Reader {
    /// The inner error is what is too much.
    fn read(&mut self, component: &[u8]) -> Result<Result<(), String>, BinaryReaderError> {
        for payload in Parser::new(0).parse_all(component) {
            let payload = payload?;
            match &payload {
                Payload::Version { encoding: Encoding::Component, .. } => {
                    self.inside.push(Some(self.nesting.components.len()));
                    self.nesting.components.push(Contents::default());
                    if self.inside.len() > DEPTH_MAX {
                        return Ok(Err(format!("they lie in each other more than {DEPTH_MAX} deep")));
                    }
                }
                Payload::Version { .. } => self.inside.push(None),
                Payload::End(_) => {
                    let Some(Some(ended)) = self.inside.pop() else { continue };
                    if let Err(what) = self.nesting.count(ended) {
                        return Ok(Err(what));
                    }
                    if let Some(Some(around)) = self.inside.last() {
                        self.nesting.components[*around].index_space.push(Some(ended));
                    }
                }
                payload => self.section(payload)?,
            }
        }
        Ok(Ok(()))
    }

    fn section(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        let Some(Some(number)) = self.inside.last().copied() else { return Ok(()) };
        let contents = &mut self.nesting.components[number];
        match payload {
            Payload::InstanceSection(instances) => {
                for instance in instances.clone() {
                    contents.core_instances += u64::from(matches!(instance?, Instance::Instantiate { .. }));
                }
            }
            Payload::ComponentInstanceSection(instances) => {
                for instance in instances.clone() {
                    if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                        let target = contents.index_space.get(component_index as usize).copied().flatten();
                        contents.instantiated.push(target);
                    }
                }
            }
            Payload::ComponentImportSection(imports) => {
                for import in imports.clone() {
                    if import?.ty.kind() == ComponentExternalKind::Component {
                        contents.index_space.push(None);
                    }
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports.clone() {
                    let export = export?;
                    if export.kind == ComponentExternalKind::Component {
                        let exported = contents.index_space.get(export.index as usize).copied().flatten();
                        contents.index_space.push(exported);
                    }
                }
            }
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases.clone() {
                    let target = match alias? {
                        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => None,
                        ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                            self.outer(count as usize, index as usize)
                        }
                        _ => continue,
                    };
                    self.nesting.components[number].index_space.push(target);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The component with that index in the component around, `count` further out.
    fn outer(&self, count: usize, index: usize) -> Option<usize> {
        let around = *self.inside.get(self.inside.len().checked_sub(count + 1)?)?;
        self.nesting.components[around?].index_space.get(index).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Nesting, ModuleError> {
        Nesting::of(&wat::parse_str(text).expect("the text is valid"))
    }

    fn refused(text: &str) -> String {
        match read(text) {
            Err(ModuleError::Nesting { what }) => what,
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("it is too much"),
        }
    }

    /// Components that each instantiate the one before twice.
    fn doubling(levels: usize) -> String {
        let mut text = "(component $c0 (core module $m) (core instance (instantiate $m)))".to_owned();
        for level in 1..=levels {
            let before = level - 1;
            text += &format!(
                "(component $c{level} (alias outer 1 $c{before} (component $b)) \
                 (instance (instantiate $b)) (instance (instantiate $b)))"
            );
        }
        format!("(component {text} (instance (instantiate $c{levels})))")
    }

    #[test]
    fn what_is_instantiated_is_found_by_number() {
        let nesting = read(
            "(component
               (component $a (component $inner) (instance (instantiate $inner)))
               (component $b (alias outer 1 $a (component $a)) (export $again \"a\" (component $a))
                 (instance (instantiate $again)))
               (instance (instantiate $b)) (instance (instantiate $a)))",
        );
        let nesting = nesting.expect("it is small");
        let of = |component| nesting.instantiated(component).collect::<Vec<_>>();
        assert_eq!([of(0), of(1), of(2), of(3)], [vec![3, 1], vec![2], vec![], vec![1]]);
    }

    #[test]
    fn components_that_double_are_counted_and_not_made() {
        assert!(read(&doubling(7)).is_ok());
        for levels in [9, 22, 200] {
            assert!(refused(&doubling(levels)).contains("more than 1000 instances"));
        }
    }

    #[test]
    fn components_in_components_have_a_limit_of_depth() {
        let nested = |depth: usize| format!("{}{}", "(component ".repeat(depth), ")".repeat(depth));
        assert!(read(&nested(DEPTH_MAX)).is_ok());
        assert!(refused(&nested(DEPTH_MAX + 1)).contains("16 deep"));
    }

    #[test]
    fn a_component_that_is_handed_around_is_refused_where_it_is_instantiated() {
        let given = "(component $c (import \"c\" (component $given)) (instance (instantiate $given)))";
        assert!(
            refused(&format!(
                "(component {given} (component $d) (instance (instantiate $c (with \"c\" (component $d)))))"
            ))
            .contains("that it was given")
        );
    }
}
