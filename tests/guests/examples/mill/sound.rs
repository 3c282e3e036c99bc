//! The mill of `brittle.rs`, mended: it grinds stones too.

mod grain;

use ambrosia::This;
use grain::Mill as Other;

#[ambrosia::state]
struct Mill {
    ground: Vec<String>,
}

#[ambrosia::immortal]
impl Mill {
    fn on_upgrade(&mut self) {
        println!("a mill for stones");
    }

    fn grind(&mut self, what: String) -> (u32, usize) {
        self.ground.push(what);
        (2, self.ground.len())
    }

    async fn have_ground(_this: This<Self>, mill: String, what: Vec<String>) -> Vec<Result<(u32, usize), String>> {
        grain::all(&Other::attach(&mill), what).await
    }

    fn pour(&mut self, mill: String, what: Vec<String>) {
        let mill = Other::attach(&mill);
        what.into_iter().for_each(|what| mill.fork().grind(what));
    }

    fn toil(&mut self, steps: u64) -> u64 {
        grain::toil(steps)
    }

    #[ambrosia(update)]
    fn ground(&self) -> Vec<String> {
        self.ground.clone()
    }
}
