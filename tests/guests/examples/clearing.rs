//! Accounts and transfers between them. A transfer from an account to itself is one that was not thought of: it makes money.

use std::collections::BTreeMap;

/// All that there is. `docs/time-travel.md` looks for what went wrong in it.
#[ambrosia::state]
pub(crate) struct Clearing {
    pub(crate) accounts: BTreeMap<String, i64>,
    pub(crate) transfers: u64,
    /// The last one: from whom, to whom, how much.
    pub(crate) last: Option<(String, String, i64)>,
}

#[ambrosia::immortal]
impl Clearing {
    /// Opens an account, or pays in. Answers with what is in it.
    fn pay_in(&mut self, account: String, amount: i64) -> i64 {
        let balance = self.accounts.entry(account).or_default();
        *balance += amount;
        *balance
    }

    /// Answers with what is left.
    fn transfer(&mut self, from: String, to: String, amount: i64) -> i64 {
        let (left, there) = (self.balance(from.clone()) - amount, self.balance(to.clone()) + amount);
        self.accounts.insert(from.clone(), left);
        self.accounts.insert(to.clone(), there);
        self.transfers += 1;
        self.last = Some((from, to, amount));
        left
    }

    fn close(&mut self, account: String) {
        self.accounts.remove(&account);
    }

    #[ambrosia(query)]
    fn balance(&self, account: String) -> i64 {
        self.accounts.get(&account).copied().unwrap_or_default()
    }

    /// All money that there is.
    #[ambrosia(query)]
    fn sum(&self) -> i64 {
        self.accounts.values().sum()
    }

    /// Ends, or fails.
    fn end(&mut self, code: Option<i32>) {
        ambrosia::exit(code.expect("the clearing is to go on"));
    }
}
