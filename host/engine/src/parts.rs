//! The instances of which a running component consists: the component itself, and those inside of it.
//!
//! Each instance that has state, or opens handles, is a *part* and gets an accessor of its own. A part is known by its
//! number: the component's own is first, then come those of each component that it instantiates, in order.
//!
//! **Architecture Invariant:** the numbers follow from the component alone, and inside of a component from what is in it:
//! so whoever instantiates it knows how many parts that makes.

use std::collections::BTreeMap;

use crate::{
    handle_types::Opener,
    layout::{GLOBALS_MAX, Layout, MEMORIES_MAX},
    offers::compatible,
    survey::{Facts, Made, Survey},
    verdict::Finding,
};

impl Facts {
    /// If an instance of it is a part.
    pub(crate) fn is_part(&self) -> bool {
        !self.openers.is_empty() || self.modules_made().any(|(_, module)| self.modules[module].has_state())
    }

    /// The instances of its modules in the order in which they are made: index of the instance, and of the module.
    pub(crate) fn modules_made(&self) -> impl Iterator<Item = (u32, usize)> {
        self.made.iter().filter_map(|made| match made {
            Made::OfModule { instance, module } => Some((*instance, *module)),
            Made::OfComponent { .. } => None,
        })
    }

    /// The instances of components that it makes: index of the instance, and number of the component.
    pub(crate) fn components_made(&self) -> impl Iterator<Item = (u32, usize)> {
        self.made.iter().filter_map(|made| match made {
            Made::OfModule { .. } => None,
            Made::OfComponent { instance, component, .. } => Some((*instance, *component)),
        })
    }
}

impl Survey {
    /// How many parts an instance of each component is, by number.
    pub(crate) fn parts(&self) -> Vec<u32> {
        let mut parts = vec![None; self.components.len()];
        for number in 0..self.components.len() {
            self.count_parts(number, &mut parts);
        }
        parts.into_iter().map(|count| count.expect("each was counted")).collect()
    }

    /// Nesting has seen to it that this ends soon.
    fn count_parts(&self, number: usize, parts: &mut [Option<u32>]) -> u32 {
        if let Some(count) = parts[number] {
            return count;
        }
        let facts = &self.components[number];
        let inside: u32 = facts.components_made().map(|(_, component)| self.count_parts(component, parts)).sum();
        let count = u32::from(facts.is_part()) + inside;
        parts[number] = Some(count);
        count
    }

    /// What the registers of the component are.
    ///
    /// # Errors
    /// All that was found, if that can't be told, or is too much.
    pub(crate) fn layout(&self) -> Result<Layout, Vec<Finding>> {
        let mut gathering = Gathering { survey: self, layout: Layout::default(), holders: 0, findings: Vec::new() };
        gathering.instance(0, None);
        let Gathering { layout, holders, mut findings, .. } = gathering;
        if holders > 1 {
            findings.push(Finding::new(format!(
                "{holders} instances of components inside of the component have handles of the host, which can't be \
                 told apart"
            )));
        }
        let (globals, memories) = (layout.globals().count(), layout.memories.len());
        if globals > GLOBALS_MAX {
            let sentence = format!("the component has {globals} mutable globals, and the limit is {GLOBALS_MAX}");
            findings.push(Finding::new(sentence));
        }
        if memories > MEMORIES_MAX {
            let sentence = format!("the component has {memories} memories, and the limit is {MEMORIES_MAX}");
            findings.push(Finding::new(sentence));
        }
        if findings.is_empty() { Ok(layout) } else { Err(findings) }
    }
}

/// Goes through all instances in the order in which they are made.
struct Gathering<'a> {
    survey: &'a Survey,
    layout: Layout,
    /// Instances that have handles.
    holders: usize,
    findings: Vec<Finding>,
}

impl<'a> Gathering<'a> {
    /// One instance of a component. `given` has, by the names under which it imports instances, the interfaces of the host
    /// that these are; the component itself imports from the host.
    fn instance(&mut self, number: usize, given: Option<&BTreeMap<&'a str, &'a str>>) {
        let facts = &self.survey.components[number];
        let part = facts.is_part().then_some(self.layout.parts.len() as u32);
        if part.is_some() {
            let globals = facts.modules_made().flat_map(|(_, module)| &facts.modules[module].globals);
            self.layout.parts.push(globals.map(|(_, scalar)| *scalar).collect());
        }
        if facts.has_handles {
            self.holders += 1;
            self.layout.handles = facts.openers.iter().map(|opener| opener.kind).collect();
            self.layout.handles_part = part.unwrap_or(0);
            facts.openers.iter().for_each(|opener| self.check_opener(opener, given));
        }
        for made in &facts.made {
            match made {
                Made::OfModule { module, .. } => {
                    let part = part.unwrap_or(0);
                    self.layout.memories.extend(facts.modules[*module].memories.iter().map(|_| part));
                }
                Made::OfComponent { component, given: inner, .. } => {
                    let host = |(name, import): &'a (String, String)| {
                        let interface =
                            given.map_or(Some(import.as_str()), |given| given.get(import.as_str()).copied());
                        interface.map(|interface| (name.as_str(), interface))
                    };
                    self.instance(*component, Some(&inner.iter().filter_map(host).collect()));
                }
            }
        }
    }

    /// Under the name of the host's interface it must be that interface, or handles would come back as others.
    fn check_opener(&mut self, opener: &Opener, given: Option<&BTreeMap<&'a str, &'a str>>) {
        let Some(given) = given else { return };
        let interface = given.get(opener.import.as_str());
        if interface.is_none_or(|interface| compatible(interface) != opener.interface) {
            self.findings.push(Finding::new(format!(
                "a component inside of the component is given another `{}` than that of the host",
                opener.interface
            )));
        }
    }
}
