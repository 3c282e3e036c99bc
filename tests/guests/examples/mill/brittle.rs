//! A mill that can't grind stones: it fails at them, unlike the one of `sound.rs`.

mod grain;

use ambrosia::This;
use grain::Mill as Other;

#[ambrosia::state]
struct Mill {
    ground: Vec<String>,
}

#[ambrosia::immortal]
impl Mill {
    /// Grinds it. Answers with the build, and how much was ground by then.
    fn grind(&mut self, what: String) -> (u32, usize) {
        assert!(what != "stone", "a stone can't be ground");
        self.ground.push(what);
        (1, self.ground.len())
    }

    /// Has another mill grind them, all at once, and answers with each answer or error.
    async fn have_ground(_this: This<Self>, mill: String, what: Vec<String>) -> Vec<Result<(u32, usize), String>> {
        grain::all(&Other::attach(&mill), what).await
    }

    /// Sends them to another mill and awaits nothing.
    fn pour(&mut self, mill: String, what: Vec<String>) {
        let mill = Other::attach(&mill);
        what.into_iter().for_each(|what| mill.fork().grind(what));
    }

    /// Takes as long as that many steps do.
    fn toil(&mut self, steps: u64) -> u64 {
        grain::toil(steps)
    }

    /// What was ground, in order.
    #[ambrosia(update)]
    fn ground(&self) -> Vec<String> {
        self.ground.clone()
    }
}
