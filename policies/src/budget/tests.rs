use proptest::prelude::*;

use super::*;

const fn dollars(dollars: u64) -> Money {
    Money::from_nanos(dollars * 1_000_000_000)
}

fn workspace() -> ScopeId {
    ScopeId::Workspace("main".to_owned())
}

fn run(id: &str) -> ScopeId {
    ScopeId::Run(id.to_owned())
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Accounts that are asked by the names of their scopes.
struct Bank {
    accounts: Accounts,
    now: Timestamp,
}

impl Bank {
    fn new(limits: &[(ScopeId, Limits)]) -> Self {
        let mut accounts = Accounts::default();
        for (scope, limits) in limits {
            accounts.set_limits(scope, *limits);
        }
        Self { accounts, now: at("2026-11-22T10:30:00Z") }
    }

    fn reserve(&mut self, scopes: &[ScopeId], amount: Money) -> Result<Reservation, Refusal> {
        let set = self.accounts.open(scopes, |_| Limits::default());
        self.accounts.reserve(set, amount, self.now)
    }
}

fn total(dollars_: u64) -> Limits {
    Limits::total(dollars(dollars_))
}

#[test]
fn reserves_everywhere_or_nowhere() {
    let mut bank = Bank::new(&[(workspace(), total(10)), (run("a"), total(2))]);
    let refusal = bank.reserve(&[workspace(), run("a")], dollars(3)).unwrap_err();
    assert_eq!((&refusal.scope, refusal.asked, refusal.left), (&run("a"), dollars(3), dollars(2)));
    assert_eq!(
        refusal.to_string(),
        "run/a has $2.00 left and the call may cost $3.00; raise the budget of run/a or ask for less"
    );
    assert_eq!(bank.accounts.account(&workspace()).reserved, Money::ZERO);
}

#[test]
fn what_a_call_did_not_need_is_free_again() {
    let mut bank = Bank::new(&[(run("a"), total(2))]);
    let reservation = bank.reserve(&[run("a")], dollars(2)).unwrap();
    assert_eq!(bank.accounts.settle(reservation, dollars(1)).overrun, None);
    let reservation = bank.reserve(&[run("a")], dollars(1)).unwrap();
    bank.accounts.release(reservation);
    assert_eq!(bank.accounts.account(&run("a")).left(), dollars(1));
}

#[test]
fn an_overrun_is_recorded_and_reported() {
    let mut bank = Bank::new(&[(run("a"), total(1))]);
    let reservation = bank.reserve(&[run("a")], dollars(1)).unwrap();
    let overrun = bank.accounts.settle(reservation, dollars(3)).overrun.unwrap();
    assert_eq!((overrun.reserved, overrun.actual), (dollars(1), dollars(3)));
    assert_eq!(bank.accounts.account(&run("a")).spent, dollars(3));
    assert_eq!(bank.reserve(&[run("a")], Money::from_nanos(1)).unwrap_err().left, Money::ZERO);
}

#[test]
fn a_scope_named_twice_counts_once() {
    let mut bank = Bank::new(&[(run("a"), total(1))]);
    let reservation = bank.reserve(&[run("a"), run("a")], dollars(1)).unwrap();
    assert_eq!(bank.accounts.account(&run("a")).reserved, dollars(1));
    assert!(bank.accounts.are(reservation.accounts(), &[run("a")]));
    assert!(!bank.accounts.are(reservation.accounts(), &[run("a"), workspace()]));
    bank.accounts.release(reservation);
}

#[test]
fn a_lowered_limit_refuses_what_follows() {
    let mut bank = Bank::new(&[]);
    let _reservation = bank.reserve(&[run("a")], dollars(5)).unwrap();
    bank.accounts.set_limits(&run("a"), total(1));
    assert!(bank.reserve(&[run("a")], Money::from_nanos(1)).is_err());
    let _reservation = bank.reserve(&[run("a")], Money::ZERO).unwrap();
}

#[test]
fn a_scope_goes_only_once_it_owes_nothing() {
    let mut bank = Bank::new(&[(run("a"), total(1))]);
    let nothing = bank.reserve(&[run("a")], Money::ZERO).unwrap();
    assert!(!bank.accounts.close(&run("a")));
    bank.accounts.release(nothing);
    let reservation = bank.reserve(&[run("a")], dollars(1)).unwrap();
    assert!(!bank.accounts.close(&run("a")));
    let _ = bank.accounts.settle(reservation, dollars(1));
    assert!(bank.accounts.close(&run("a")) && bank.accounts.close(&run("a")));
    assert_eq!(bank.accounts.account(&run("a")), Account::default());
    // Its place goes to another, which has nothing of it.
    let _reservation = bank.reserve(&[run("b")], dollars(2)).unwrap();
    assert_eq!(bank.accounts.account(&run("b")).spent, Money::ZERO);
}

#[test]
fn a_window_ends_and_the_total_stays() {
    let limits = Limits { total: Some(dollars(3)), day: Some(dollars(2)), at_end: AtEnd::Wait, ..Limits::default() };
    let mut bank = Bank::new(&[(workspace(), limits)]);
    let reservation = bank.reserve(&[workspace()], dollars(2)).unwrap();
    let _ = bank.accounts.settle(reservation, dollars(2));
    let refusal = bank.reserve(&[workspace()], dollars(1)).unwrap_err();
    assert_eq!((refusal.window, refusal.wakes_at()), (Some(Window::Day), Some(at("2026-11-23T00:00:00Z"))));
    assert_eq!(
        refusal.to_string(),
        "workspace/main has $0.00 left today, until 2026-11-23T00:00:00Z, and the call may cost $1.00; it waits for the next day"
    );
    // More than a day's limit fits into no day.
    assert_eq!(bank.reserve(&[workspace()], dollars(3)).unwrap_err().then, AtEnd::Reject);
    bank.now = at("2026-11-23T00:00:00Z");
    let reservation = bank.reserve(&[workspace()], dollars(1)).unwrap();
    let _ = bank.accounts.settle(reservation, dollars(1));
    // The total is spent, and has no next.
    let refusal = bank.reserve(&[workspace()], dollars(1)).unwrap_err();
    assert_eq!((refusal.window, refusal.then, refusal.wakes_at()), (None, AtEnd::Reject, None));
}

#[test]
fn a_call_is_charged_to_the_window_in_which_it_was_reserved() {
    let limits = Limits { hour: Some(dollars(2)), ..Limits::default() };
    let mut bank = Bank::new(&[(run("a"), limits)]);
    let reservation = bank.reserve(&[run("a")], dollars(2)).unwrap();
    bank.now = at("2026-11-22T11:00:00Z");
    let next = bank.reserve(&[run("a")], dollars(2)).unwrap();
    let _ = bank.accounts.settle(reservation, dollars(2));
    let account = bank.accounts.account(&run("a"));
    assert_eq!((account.spent, account.reserved), (dollars(2), dollars(2)));
    assert_eq!(account.of(Some(Window::Hour)), Sums { spent: Money::ZERO, reserved: dollars(2) });
    let _ = bank.accounts.settle(next, dollars(1));
    assert_eq!(bank.accounts.account(&run("a")).left(), dollars(1));
}

#[test]
fn a_clock_that_is_set_back_refills_nothing() {
    let limits = Limits { hour: Some(dollars(1)), ..Limits::default() };
    let mut bank = Bank::new(&[(run("a"), limits)]);
    let reservation = bank.reserve(&[run("a")], dollars(1)).unwrap();
    let _ = bank.accounts.settle(reservation, dollars(1));
    bank.now = at("2026-11-22T08:30:00Z");
    assert_eq!(bank.reserve(&[run("a")], dollars(1)).unwrap_err().left, Money::ZERO);
}

#[test]
fn the_hardest_of_several_refusals_is_told() {
    let with = |at_end| Limits { hour: Some(dollars(1)), total: None, at_end, ..Limits::default() };
    let scopes = [run("a"), ScopeId::Agent("writer".to_owned()), workspace()];
    for (ends, expected) in [
        ([AtEnd::Downgrade, AtEnd::Wait, AtEnd::Downgrade], 1),
        ([AtEnd::Ask, AtEnd::Wait, AtEnd::Downgrade], 0),
        ([AtEnd::Ask, AtEnd::Wait, AtEnd::Reject], 2),
        ([AtEnd::Reject, AtEnd::Reject, AtEnd::Reject], 0),
    ] {
        let limits: Vec<_> = scopes.iter().cloned().zip(ends.map(with)).collect();
        let mut bank = Bank::new(&limits);
        let _held = bank.reserve(&scopes, dollars(1)).unwrap();
        let refusal = bank.reserve(&scopes, dollars(1)).unwrap_err();
        assert_eq!(refusal.scope, scopes[expected], "{ends:?}");
    }
}

#[test]
fn of_several_waits_the_longest_is_told() {
    let limits = Limits {
        hour: Some(dollars(1)),
        month: Some(dollars(1)),
        day: Some(dollars(1)),
        at_end: AtEnd::Wait,
        ..Limits::default()
    };
    let mut bank = Bank::new(&[(run("a"), limits)]);
    let _held = bank.reserve(&[run("a")], dollars(1)).unwrap();
    let refusal = bank.reserve(&[run("a")], dollars(1)).unwrap_err();
    assert_eq!((refusal.window, refusal.wakes_at()), (Some(Window::Month), Some(at("2026-12-01T00:00:00Z"))));
}

#[test]
fn a_share_is_told_once_in_each_window() {
    let shares = [50, 80, 100].map(|percent| Share::percent(percent).unwrap());
    let limits = Limits { total: Some(dollars(100)), hour: Some(dollars(10)), ..Limits::default() };
    let mut bank = Bank::new(&[(run("a"), limits)]);
    let spend = |bank: &mut Bank, amount| {
        let reservation = bank.reserve(&[run("a")], dollars(amount)).unwrap();
        let settled = bank.accounts.settle(reservation, dollars(amount));
        let alerts = bank.accounts.reached(&settled.accounts, &shares);
        alerts.into_iter().map(|alert| alert.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(spend(&mut bank, 4), [""; 0]);
    assert_eq!(spend(&mut bank, 4), ["run/a is at 80% of its budget for the hour: $8.00 of $10.00 spent"]);
    assert_eq!(spend(&mut bank, 1), [""; 0]);
    let refusal = bank.reserve(&[run("a")], dollars(2)).unwrap_err();
    let end = bank.accounts.refused(&refusal, &shares).unwrap();
    let said = "run/a had no room for a call of up to $2.00 in its budget for the hour: $9.00 of $10.00 spent";
    assert_eq!(end.to_string(), said);
    assert_eq!(bank.accounts.refused(&refusal, &shares), None);
    assert_eq!(spend(&mut bank, 1), ["run/a is at 100% of its budget for the hour: $10.00 of $10.00 spent"]);
    bank.now = at("2026-11-22T11:30:00Z");
    assert_eq!(spend(&mut bank, 5), ["run/a is at 50% of its budget for the hour: $5.00 of $10.00 spent"]);
    // Whoever hears of an alert of a window that is over has heard nothing of this one.
    bank.accounts.told(&Alert { event: AlertEvent::Share(Share::WHOLE), ..end });
    assert_eq!(spend(&mut bank, 3), ["run/a is at 80% of its budget for the hour: $8.00 of $10.00 spent"]);
}

#[test]
fn one_call_that_is_too_large_says_nothing_of_shares_and_is_told_once_for_each_limit() {
    let shares = [80, 100].map(|percent| Share::percent(percent).unwrap());
    let mut bank = Bank::new(&[(run("a"), total(10))]);
    let alert = bank.reserve(&[run("a")], dollars(11)).map_err(|refusal| bank.accounts.refused(&refusal, &shares));
    let alert = alert.unwrap_err().unwrap();
    assert_eq!(alert.to_string(), "run/a had no room for a call of up to $11.00 in its budget: $0.00 of $10.00 spent");
    let json = serde_json::to_value(&alert).unwrap();
    assert_eq!((json.get("share"), serde_json::from_value(json.clone()).ok()), (None, Some(alert)));
    let held = bank.reserve(&[run("a")], dollars(8)).unwrap();
    let settled = bank.accounts.settle(held, dollars(8));
    let told = bank.accounts.reached(&settled.accounts, &shares);
    assert_eq!(told[0].event, AlertEvent::Share(shares[0]), "it is told all the same");
    let refused = |bank: &mut Bank, amount| {
        let refusal = bank.reserve(&[run("a")], dollars(amount)).unwrap_err();
        bank.accounts.refused(&refusal, &shares).is_some()
    };
    assert!(!refused(&mut bank, 3), "once for a limit");
    bank.accounts.set_limits(&run("a"), total(20));
    assert!(refused(&mut bank, 13) && !refused(&mut bank, 13), "and once for one that was raised");
    assert!(bank.reserve(&[run("a")], dollars(13)).map_err(|refusal| bank.accounts.refused(&refusal, &[])).is_err());
}

#[test]
fn a_share_of_a_limit_that_was_raised_is_told_anew_when_it_is_reached_again() {
    let shares = [80, 100].map(|percent| Share::percent(percent).unwrap());
    let mut bank = Bank::new(&[(run("a"), total(10))]);
    let spend = |bank: &mut Bank, amount| {
        let reservation = bank.reserve(&[run("a")], dollars(amount)).unwrap();
        let settled = bank.accounts.settle(reservation, dollars(amount));
        bank.accounts.reached(&settled.accounts, &shares).into_iter().map(|alert| alert.event).collect::<Vec<_>>()
    };
    let [most, all] = shares.map(AlertEvent::Share);
    assert_eq!(spend(&mut bank, 10), [all]);
    bank.accounts.govern(|_| total(12));
    assert_eq!(bank.accounts.reached_anywhere(&shares), [], "80% were told already");
    assert_eq!(spend(&mut bank, 2), [all]);
    bank.accounts.govern(|_| total(20));
    assert_eq!(bank.accounts.reached_anywhere(&shares), []);
    assert_eq!((spend(&mut bank, 3), spend(&mut bank, 1), spend(&mut bank, 4)), (vec![], vec![most], vec![all]));
}

#[test]
fn a_snapshot_is_taken_up_with_its_reservations_but_in_no_other_zone() {
    let mut bank = Bank::new(&[]);
    let reservation = bank.reserve(&[run("a/b"), workspace()], dollars(1)).unwrap();
    let json = serde_json::to_string(&bank.accounts.keep([("k", &reservation)].into_iter())).unwrap();
    let read = || serde_json::from_str::<Kept<String>>(&json).unwrap();
    assert!(Accounts::restore(read(), &"Europe/Zurich".parse().unwrap(), |_| total(3)).is_none());
    let (mut anew, mut kept) = Accounts::restore(read(), &Zone::default(), |_| total(3)).unwrap();
    assert_eq!(anew.account(&workspace()).left(), dollars(2));
    let (key, reservation) = kept.remove(0);
    let _ = anew.settle(reservation, dollars(1));
    assert_eq!((key.as_str(), anew.account(&run("a/b")).spent), ("k", dollars(1)));
    for text in ["", "run", "run/", "team/a"] {
        assert!(text.parse::<ScopeId>().is_err(), "{text:?}");
    }
}

#[test]
fn a_policy_is_written_as_it_was_and_with_windows() {
    let text = "zone = 'Europe/Zurich'\nalerts = ['50%']\nworkspace = '$20.00'\n\
                agent = { day = '$5', at_end = 'wait' }\nagents = { writer = '$7', reviewer = {} }\n";
    let policy: BudgetPolicy = document::read("budget.toml", text).unwrap();
    assert_eq!(policy.limits(&workspace()), total(20));
    assert_eq!(policy.limits(&ScopeId::Agent("writer".to_owned())), total(7));
    assert!(policy.limits(&ScopeId::Agent("reviewer".to_owned())).is_none());
    let daily = Limits { day: Some(dollars(5)), at_end: AtEnd::Wait, ..Limits::default() };
    assert_eq!(policy.limits(&ScopeId::Agent("editor".to_owned())), daily);
    assert!(policy.limits(&run("a")).is_none());
    let written = serde_json::to_string(&policy).unwrap();
    assert_eq!(serde_json::from_str::<BudgetPolicy>(&written).unwrap(), policy);
    assert_eq!(policy.agent.to_string(), "{ day = \"$5.00\", at_end = \"wait\" }");
    assert_eq!(policy.workspace.to_string(), "\"$20.00\"");
    let told = |text: &str| document::lines(&document::read::<BudgetPolicy>("b.toml", text).unwrap_err());
    assert_eq!(
        told("workspace = { week = '$1' }\n"),
        "b.toml:1:15: unknown field `week`; known here: `total`, `hour`, `day`, `month`, `at_end`"
    );
    assert!(told("zone = 'Zurich'\n").contains("`Zurich` is not a time zone; write its IANA name"));
    assert!(told("run = 2.0\n").contains("expected money such as \"$2.00\", or a table such as { total"));
}

#[derive(Clone, Debug)]
enum Step {
    Reserve(Vec<usize>, u64),
    Settle(prop::sample::Index, f64),
    Release(prop::sample::Index),
    /// So many minutes later; or earlier, as clocks go.
    Pass(i64),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let reserve = (prop::collection::vec(0..4_usize, 1..5), 0..100_u64)
        .prop_map(|(scopes, amount)| Step::Reserve(scopes, amount));
    let settle = (any::<prop::sample::Index>(), 0.0..=1.0).prop_map(|(hold, share)| Step::Settle(hold, share));
    let release = any::<prop::sample::Index>().prop_map(Step::Release);
    let pass = prop_oneof![-300..90_i64, 0..3_000_i64, Just(40_000)].prop_map(Step::Pass);
    prop::collection::vec(
        prop_oneof![6 => reserve, 3 => settle, 2 => release, 2 => pass, 1 => Just(Step::Restart)],
        0..100,
    )
}

/// What is known of one reservation, whoever counts it.
struct Known {
    scopes: Vec<ScopeId>,
    reserved: u64,
    spent: u64,
    at: Timestamp,
}

fn limits() -> impl Strategy<Value = Limits> {
    prop::array::uniform4(prop::option::of(0..300_u64)).prop_map(|of| {
        let [total, hour, day, month] = of.map(|limit| limit.map(Money::from_nanos));
        Limits { total, hour, day, month, at_end: AtEnd::Wait }
    })
}

proptest! {
    #[test]
    fn no_sequence_passes_a_limit_of_any_window_and_none_leaks(
        limits in prop::collection::vec(limits(), 3), steps in steps(), zone in 0..4_usize, start in 0..200_000_i64,
    ) {
        // A summer's end, a month's end and a year's end are all near.
        let zone: Zone = ["UTC", "Europe/Zurich", "America/Santiago", "Asia/Kathmandu"][zone].parse().unwrap();
        let mut clock = at("2026-09-01T00:00:00Z").micros() + start * 60_000_000;
        // The fourth scope has no limit.
        let scopes: Vec<ScopeId> = (0..4).map(|id| run(&id.to_string())).collect();
        let limit = |scope: &ScopeId| scopes.iter().position(|known| known == scope).and_then(|at| limits.get(at)).copied().unwrap_or_default();
        let mut accounts = Accounts::new(zone.clone());
        let mut holds: Vec<(Reservation, usize)> = Vec::new();
        let mut known: Vec<Known> = Vec::new();
        for step in steps {
            match step {
                Step::Reserve(named, amount) => {
                    let named: Vec<_> = named.into_iter().map(|at| scopes[at].clone()).collect();
                    let set = accounts.open(&named, limit);
                    let before = serde_json::to_value(accounts.keep(std::iter::empty::<(u8, &Reservation)>())).unwrap();
                    match accounts.reserve(set, Money::from_nanos(amount), Timestamp::from_micros(clock)) {
                        Ok(reservation) => {
                            known.push(Known { scopes: named, reserved: amount, spent: 0, at: reservation.at() });
                            holds.push((reservation, known.len() - 1));
                        }
                        Err(refusal) => {
                            prop_assert!(refusal.asked > refusal.left);
                            prop_assert!(refusal.wakes_at().is_none_or(|wakes| wakes > accounts.now()));
                            let after = serde_json::to_value(accounts.keep(std::iter::empty::<(u8, &Reservation)>())).unwrap();
                            prop_assert_eq!(&before["accounts"], &after["accounts"]);
                        }
                    }
                }
                Step::Settle(hold, share) if !holds.is_empty() => {
                    let (reservation, of) = holds.swap_remove(hold.index(holds.len()));
                    let actual = (reservation.amount().nanos() as f64 * share) as u64;
                    prop_assert_eq!(accounts.settle(reservation, Money::from_nanos(actual)).overrun, None);
                    (known[of].reserved, known[of].spent) = (0, actual);
                }
                Step::Release(hold) if !holds.is_empty() => {
                    let (reservation, of) = holds.swap_remove(hold.index(holds.len()));
                    accounts.release(reservation);
                    known[of].reserved = 0;
                }
                Step::Pass(minutes) => {
                    clock += minutes * 60_000_000;
                    accounts.advance(Timestamp::from_micros(clock));
                }
                Step::Restart => {
                    let kept = accounts.keep(holds.iter().map(|(reservation, of)| (*of, reservation)));
                    let (anew, reservations) = Accounts::restore(kept, &zone, limit).unwrap();
                    accounts = anew;
                    holds = reservations.into_iter().map(|(of, reservation)| (reservation, of)).collect();
                }
                Step::Settle(..) | Step::Release(..) => {}
            }
            for scope in &scopes {
                let account = accounts.account(scope);
                for window in [None, Some(Window::Hour), Some(Window::Day), Some(Window::Month)] {
                    let is_in = |of: &&Known| of.scopes.contains(scope)
                        && window.is_none_or(|window| window.around(of.at, &zone).contains(accounts.now()));
                    let sums = known.iter().filter(is_in).fold((0, 0), |sums, of| (sums.0 + of.spent, sums.1 + of.reserved));
                    let counted = account.of(window);
                    prop_assert_eq!((counted.spent.nanos(), counted.reserved.nanos()), sums, "{:?} of {}", window, scope);
                    prop_assert!(account.limits.of(window).is_none_or(|limit| counted.committed() <= limit));
                }
            }
        }
    }
}
