//! `ambrosia:runtime/scheduling`, which a component exports or not (`wit/immortal.wit`).
//!
//! **Architecture Invariant:** what a schedule means in a calendar is not known here.

use ambrosia_core::{MethodId, limits::CRONS_MAX};
use ambrosia_methods::{Method, MethodKind, Missed, Schedule};
use wasmtime::{
    Store,
    component::{ComponentType, Instance, Lift},
};

use crate::{error::ModuleError, state::GuestState};

/// The interface of components whose methods run by themselves.
const SCHEDULING: &str = "ambrosia:runtime/scheduling@0.2.0";
/// Its function.
const SCHEDULES: &str = "schedules";

/// Record `schedule` of the interface.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct ScheduleRecord {
    method: u32,
    cron: String,
    zone: String,
    missed: MissedRecord,
}

#[derive(Clone, Copy, ComponentType, Lift)]
#[allow(dead_code, reason = "made by what is lifted")]
#[component(enum)]
#[repr(u8)]
pub(crate) enum MissedRecord {
    #[component(name = "one")]
    One,
    #[component(name = "all")]
    All,
    #[component(name = "none")]
    None,
}

/// Asks an instance that has just described itself. Nothing if it exports no such interface.
///
/// # Errors
/// The first is a trap. [`ModuleError::WrongExport`] if the function has another type.
pub(crate) fn ask(
    store: &mut Store<GuestState>,
    instance: &Instance,
) -> Result<Result<Vec<ScheduleRecord>, ModuleError>, wasmtime::Error> {
    let Some(interface) = instance.get_export_index(&mut *store, None, SCHEDULING) else { return Ok(Ok(Vec::new())) };
    let wrong = |why: String| Ok(Err(ModuleError::WrongExport { name: SCHEDULING, why }));
    let Some(schedules) = instance.get_export_index(&mut *store, Some(&interface), SCHEDULES) else {
        return wrong(format!("it has no function `{SCHEDULES}`"));
    };
    let schedules = match instance.get_typed_func::<(), (Vec<ScheduleRecord>,)>(&mut *store, schedules) {
        Ok(schedules) => schedules,
        Err(error) => return wrong(format!("`{SCHEDULES}`: {error}")),
    };
    let (records,) = schedules.call(&mut *store, ())?;
    Ok(Ok(records))
}

/// Notes beside each method when it runs.
///
/// # Errors
/// [`ModuleError::WrongSchedule`] if there is no such method, or it can't run by itself.
pub(crate) fn note(methods: &mut [Method], records: Vec<ScheduleRecord>) -> Result<(), ModuleError> {
    let wrong = |why: String| Err(ModuleError::WrongSchedule(why));
    if records.len() > CRONS_MAX {
        return wrong(format!("there are {}, and {CRONS_MAX} are the most that one may have", records.len()));
    }
    for ScheduleRecord { method: id, cron, zone, missed } in records {
        let id = MethodId(id);
        let Some(method) = methods.iter_mut().find(|method| method.id == id) else {
            return wrong(format!("{cron:?} is for a method with the id {id}, and there is none"));
        };
        let name = &method.name;
        match (method.kind, &method.schedule) {
            (MethodKind::Query, _) => return wrong(format!("the method `{name}` is a query, which changes nothing")),
            (_, Some(_)) => return wrong(format!("the method `{name}` has more than one")),
            (MethodKind::Update | MethodKind::Raw, None) => {}
        }
        let missed = match missed {
            MissedRecord::One => Missed::One,
            MissedRecord::All => Missed::All,
            MissedRecord::None => Missed::None,
        };
        method.schedule = Some(Schedule { cron, zone, missed });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str) -> ScheduleRecord {
        let (cron, zone) = ("0 3 * * *".to_owned(), "Europe/Berlin".to_owned());
        ScheduleRecord { method: MethodId::of(name).0, cron, zone, missed: MissedRecord::None }
    }

    fn methods() -> Vec<Method> {
        let report = Method::without_types("report".to_owned(), Vec::new(), true);
        let total = Method { kind: MethodKind::Query, ..Method::without_types("total".to_owned(), Vec::new(), true) };
        vec![report, total]
    }

    #[test]
    fn a_schedule_is_noted_beside_its_method() {
        let mut methods = methods();
        note(&mut methods, vec![record("report")]).expect("it is one of them");
        let expected = Schedule { cron: "0 3 * * *".into(), zone: "Europe/Berlin".into(), missed: Missed::None };
        assert_eq!((&methods[0].schedule, &methods[1].schedule), (&Some(expected), &None));
    }

    #[test]
    fn a_schedule_of_what_can_not_run_by_itself_is_refused() {
        for (names, said) in [
            (&["gone"][..], "there is none"),
            (&["total"], "`total` is a query"),
            (&["report", "report"], "`report` has more than one"),
            (&["report"; CRONS_MAX + 1], "1024 are the most"),
        ] {
            let error = note(&mut methods(), names.iter().map(|name| record(name)).collect()).expect_err(said);
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
