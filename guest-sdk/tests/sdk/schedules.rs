//! Methods that run by themselves.

use std::time::Duration;

use ambrosia::{Missed, Schedule, This, Timestamp, testing::Harness};

#[ambrosia::state]
struct Reports {
    made: Vec<String>,
}

#[ambrosia::immortal(no_exports)]
impl Reports {
    #[ambrosia(cron = "0 3 * * *", zone = "Europe/Berlin", missed = "all")]
    fn daily(&mut self, due: Timestamp) {
        self.made.push(format!("daily for {due} at {}", ambrosia::now()));
    }

    #[ambrosia(cron = "@hourly", restart)]
    async fn hourly(this: This<Self>) {
        ambrosia::sleep(Duration::from_secs(5)).await;
        this.with(|reports| reports.made.push("hourly".to_string()));
    }

    fn plain(&mut self) {}
}

#[test]
fn a_method_runs_with_the_time_at_which_it_is_due_or_without() {
    let mut reports = Harness::<Reports>::start("reports");
    let due = reports.now() + Duration::from_secs(60);
    reports.advance_to_cron("daily", due);
    reports.state(|reports| assert_eq!(reports.made, [format!("daily for {due} at {due}")]));
    reports.run_cron("hourly");
    reports.advance(Duration::from_secs(5));
    reports.state(|reports| assert_eq!(reports.made[1], "hourly"));
}

#[test]
fn one_that_waits_is_begun_again_by_new_code_as_any_handler() {
    let mut reports = Harness::<Reports>::start("reports");
    reports.run_cron("hourly");
    assert_eq!(reports.waiting()[0].handler, "hourly");
    let mut reports = reports.upgrade::<Reports>();
    reports.advance(Duration::from_secs(5));
    reports.state(|reports| assert_eq!(reports.made, ["hourly"]));
}

#[test]
fn what_the_attribute_says_is_described() {
    use ambrosia::Immortal;
    let schedules: Vec<_> = Reports::METHODS.iter().map(|method| method.schedule).collect();
    let daily = Schedule { cron: "0 3 * * *", zone: "Europe/Berlin", missed: Missed::All };
    let hourly = Schedule { cron: "@hourly", zone: "", missed: Missed::One };
    assert_eq!(schedules, [Some(daily), Some(hourly), None]);
}

#[test]
#[should_panic(expected = "there is no method `plain` with a schedule")]
fn what_has_no_schedule_does_not_run_by_itself() {
    Harness::<Reports>::start("reports").run_cron("plain");
}
