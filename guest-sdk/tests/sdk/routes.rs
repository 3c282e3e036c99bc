//! Methods that are asked at paths of their own.

use ambrosia::{Immortal, Route, Verb};

#[ambrosia::state]
struct Numbers {
    total: u64,
}

#[ambrosia::immortal(no_exports)]
impl Numbers {
    #[ambrosia(query, get = "/", get = "/total")]
    fn total(&self) -> u64 {
        self.total
    }

    #[ambrosia(put = "/numbers/{type}")]
    #[ambrosia(delete = "/numbers/{n}/{type}")]
    fn add(&mut self, n: u64, r#type: String) {
        self.total += n + r#type.len() as u64;
    }

    #[ambrosia(post = "/plain", patch = "/plain")]
    async fn later(this: ambrosia::This<Self>) {
        this.with(|numbers| numbers.total += 1);
    }

    fn plain(&mut self) {}
}

#[test]
fn what_the_attributes_say_is_described() {
    let routes: Vec<_> = Numbers::METHODS.iter().map(|method| method.routes).collect();
    let route = |verb, path| Route { verb, path };
    let expected: [&[Route]; 4] = [
        &[route(Verb::Get, "/"), route(Verb::Get, "/total")],
        &[route(Verb::Put, "/numbers/{type}"), route(Verb::Delete, "/numbers/{n}/{type}")],
        &[route(Verb::Post, "/plain"), route(Verb::Patch, "/plain")],
        &[],
    ];
    assert_eq!(routes, expected);
}
