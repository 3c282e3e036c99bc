//! Two immortals that await each other do not lock up.

use ambrosia::{This, testing::Harness};

#[ambrosia::state]
struct Partner {
    asked: u32,
}

#[ambrosia::immortal]
impl Partner {
    async fn bounce(this: This<Self>, back: PartnerProxy, depth: u32) -> u32 {
        this.with(|partner| partner.asked += 1);
        match depth {
            0 => 0,
            _ => back.bounce(PartnerProxy::me(), depth - 1).await.expect("the partner answers") + 1,
        }
    }

    /// A fork to itself, for another delivery.
    fn count_down(&mut self, from: u32) {
        self.asked += 1;
        if from > 0 {
            PartnerProxy::me().fork().count_down(from - 1);
        }
    }

    async fn ask_itself(_this: This<Self>) -> u32 {
        PartnerProxy::me().bounce(PartnerProxy::attach("left"), 0).await.expect("it answers itself") + 10
    }
}

/// Carries one call to the other side, and says what it is there.
fn carry(from: &mut Harness<Partner>, to: &mut Harness<Partner>, names: (&str, &str)) -> Option<CallOnItsWay> {
    let (open, (back, depth)) = from.take_calls::<(String, u32)>(names.1, "bounce").pop()?;
    let pending = to.call(names.0, |partner| partner.bounce(PartnerProxy::attach(&back), depth));
    Some((open, pending))
}

type CallOnItsWay = (ambrosia::testing::OpenCall, ambrosia::testing::Pending<u32>);

#[test]
fn mutual_calls_do_not_lock_up() {
    let mut left = Harness::<Partner>::start("left");
    let mut right = Harness::<Partner>::start("right");
    let whole = left.call("tester", |left| left.bounce(PartnerProxy::attach("right"), 3));

    let to_right = carry(&mut left, &mut right, ("left", "right")).expect("left asks right");
    let to_left = carry(&mut right, &mut left, ("right", "left")).expect("right asks left");
    let (open, last) = carry(&mut left, &mut right, ("left", "right")).expect("left asks right again");

    left.reply(open, &right.answer(&last).expect("depth 0 answers").expect("it fits"));
    right.reply(to_left.0, &left.answer(&to_left.1).expect("it goes back").expect("it fits"));
    left.reply(to_right.0, &right.answer(&to_right.1).expect("it goes back").expect("it fits"));
    assert_eq!(left.answer(&whole), Some(Ok(3)));
}

#[test]
fn what_it_sends_to_itself_comes_in_a_later_delivery() {
    let mut partner = Harness::<Partner>::start("left");
    partner.send("tester", |partner| partner.fork().count_down(2));
    assert_eq!(partner.state(|partner| partner.asked), 1);
    assert_eq!((partner.deliver_own(), partner.deliver_own(), partner.deliver_own()), (1, 1, 0));
    assert_eq!(partner.state(|partner| partner.asked), 3);
    assert_eq!(partner.sent(), []);
}

#[test]
fn it_can_call_itself() {
    let mut partner = Harness::<Partner>::start("left");
    let answer = partner.call("tester", |partner| partner.ask_itself());
    while partner.deliver_own() > 0 {}
    assert_eq!(partner.answer(&answer), Some(Ok(10)));
}
