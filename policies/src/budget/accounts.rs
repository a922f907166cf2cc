//! The sums of all scopes.
//!
//! Invariant: of every scope and each of its windows, spent + reserved ≤ limit at every instant, but for
//! what [`Accounts::commit`] is told and for calls that cost more than their worst case. A reservation is
//! taken from every scope and window or from none, belongs to the windows in which it was made, and is
//! settled or released once: both take it away.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use super::account::{Account, BINS, Bin, Sums};
use super::window::Calendar;
use super::{Alert, AlertEvent, Frame, Limits, Overrun, Refusal, ScopeId, Window, Zone};
use crate::{instant::Timestamp, money::Money, share::Share};

/// An account by its place, as long as it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct AccountId(u32);

/// Several accounts, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountSet(Box<[AccountId]>);

/// An amount that is taken from several accounts until it is settled or released.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what is neither settled nor released stays reserved"]
pub struct Reservation {
    accounts: AccountSet,
    amount: Money,
    at: Timestamp,
}

impl Reservation {
    /// The amount.
    pub const fn amount(&self) -> Money {
        self.amount
    }

    /// The moment whose windows it belongs to.
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// The accounts that it is taken from.
    pub const fn accounts(&self) -> &AccountSet {
        &self.accounts
    }

    /// As a snapshot has it: whoever restores it has what the sums of the same snapshot hold.
    fn copy(&self) -> Self {
        Self { accounts: self.accounts.clone(), amount: self.amount, at: self.at }
    }
}

/// What came of a settlement.
#[derive(Debug)]
#[must_use = "an overrun must be reported"]
pub struct Settled {
    /// That the call cost more than was reserved.
    pub overrun: Option<Overrun>,
    /// Whose sums have changed.
    pub accounts: AccountSet,
}

/// An open account.
#[derive(Clone, Debug)]
struct Slot {
    scope: Arc<ScopeId>,
    limits: Limits,
    bins: [Bin; 4],
    /// The reservations that know it by its place.
    open: u32,
}

/// The accounts of all scopes.
///
/// A scope that was never named has no limit and spent nothing. Where a list
/// of scopes names one twice, it counts once.
#[derive(Clone, Debug)]
pub struct Accounts {
    /// Looked up at each call; whoever goes through it sorts it first.
    places: HashMap<Arc<ScopeId>, AccountId, RandomState>,
    slots: Vec<Option<Slot>>,
    free: Vec<AccountId>,
    calendar: Calendar,
}

/// What a snapshot keeps of the accounts and of the reservations in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept<K> {
    zone: Zone,
    now: Timestamp,
    accounts: Vec<(ScopeId, [Bin; 4])>,
    /// Each with the places of its accounts in that list: a name would be written as often as somebody owes.
    reservations: Vec<(K, Vec<u32>, Money, Timestamp)>,
}

impl Default for Accounts {
    fn default() -> Self {
        Self::new(Zone::default())
    }
}

impl Accounts {
    /// No accounts, with the days and months of this zone.
    pub fn new(zone: Zone) -> Self {
        Self { places: HashMap::default(), slots: Vec::new(), free: Vec::new(), calendar: Calendar::new(zone) }
    }

    /// Goes on to `now`: windows that have ended begin anew. It never goes back; returns the latest
    /// moment that it was told.
    pub fn advance(&mut self, now: Timestamp) -> Timestamp {
        self.calendar.advance(now)
    }

    /// The latest moment that it was told.
    pub fn now(&self) -> Timestamp {
        self.calendar.now()
    }

    /// The frame of a window now.
    pub fn frame(&self, window: Window) -> Frame {
        self.calendar.frame(window)
    }

    /// The accounts of these scopes; one that is not open yet is opened with these limits.
    pub fn open(&mut self, scopes: &[ScopeId], limits: impl Fn(&ScopeId) -> Limits) -> AccountSet {
        let mut set = Vec::with_capacity(scopes.len());
        for scope in scopes {
            let id = match self.places.get(scope) {
                Some(id) => *id,
                None => self.add(scope, limits(scope)),
            };
            if !set.contains(&id) {
                set.push(id);
            }
        }
        AccountSet(set.into())
    }

    fn add(&mut self, scope: &ScopeId, limits: Limits) -> AccountId {
        let scope = Arc::new(scope.clone());
        let slot = Some(Slot { scope: Arc::clone(&scope), limits, bins: <[Bin; 4]>::default(), open: 0 });
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.slots.push(None);
                // More than 2^32 scopes are more than a machine's memory holds.
                AccountId(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
            }
        };
        if let Some(place) = self.slots.get_mut(id.0 as usize) {
            *place = slot;
        }
        self.places.insert(scope, id);
        id
    }

    /// Sets the limits of a scope. Below what is already committed they take nothing back, and refuse
    /// every new reservation.
    pub fn set_limits(&mut self, scope: &ScopeId, limits: Limits) {
        let set = self.open(std::slice::from_ref(scope), |_| limits);
        for id in &set.0 {
            if let Some(slot) = self.slot_mut(*id) {
                slot.limits = limits;
            }
        }
    }

    /// Sets the limits of all scopes that are open.
    pub fn govern(&mut self, limits: impl Fn(&ScopeId) -> Limits) {
        for slot in self.slots.iter_mut().flatten() {
            slot.limits = limits(&slot.scope);
        }
    }

    /// Reserves the amount in every account, and in each of the windows that `now` is in, or in none.
    ///
    /// # Errors
    /// [`Refusal`]: of all that it does not fit into, the one from which the hardest follows.
    pub fn reserve(&mut self, accounts: AccountSet, amount: Money, now: Timestamp) -> Result<Reservation, Refusal> {
        let at = self.advance(now);
        let mut refusal: Option<Refusal> = None;
        for slot in accounts.0.iter().filter_map(|id| self.slot(*id)) {
            for (place, window) in BINS.into_iter().enumerate() {
                let limit = slot.limits.of(window);
                let left = limit.unwrap_or(Money::MAX).saturating_sub(self.sums(slot, place, window).committed());
                if amount > left {
                    let found = self.refusal(slot, window, limit.unwrap_or(Money::MAX), (amount, left));
                    if refusal.as_ref().is_none_or(|known| found.is_harder_than(known)) {
                        refusal = Some(found);
                    }
                }
            }
        }
        match refusal {
            Some(refusal) => Err(refusal),
            None => Ok(self.commit(accounts, amount, at)),
        }
    }

    fn refusal(&self, slot: &Slot, window: Option<Window>, limit: Money, (asked, left): (Money, Money)) -> Refusal {
        let until = window.map(|window| self.calendar.frame(window).end);
        let then = slot.limits.at_end.of(window, limit, asked);
        Refusal { scope: (*slot.scope).clone(), asked, left, window, until, then }
    }

    /// Reserves what is known to be reserved since `at`, whatever the limits are now: it counts in those
    /// windows of that moment that have not ended.
    pub fn commit(&mut self, accounts: AccountSet, amount: Money, at: Timestamp) -> Reservation {
        self.advance(at);
        let reservation = Reservation { accounts, amount, at };
        self.each(&reservation, |sums| sums.reserved = sums.reserved.saturating_add(amount));
        self.keep_open(&reservation.accounts);
        reservation
    }

    /// Turns a reservation into spending, once the call's cost is known: in the windows in which it was
    /// made, as far as they have not ended, and in the total.
    ///
    /// All of `actual` is recorded as spent. What was not reserved for it is reported.
    pub fn settle(&mut self, reservation: Reservation, actual: Money) -> Settled {
        let reserved = reservation.amount;
        self.each(&reservation, |sums| {
            sums.reserved = sums.reserved.saturating_sub(reserved);
            sums.spent = sums.spent.saturating_add(actual);
        });
        self.let_go(&reservation.accounts);
        let first = reservation.accounts.0.first().and_then(|id| self.slot(*id));
        let overrun =
            first.filter(|_| actual > reserved).map(|slot| Overrun { scope: (*slot.scope).clone(), reserved, actual });
        Settled { overrun, accounts: reservation.accounts }
    }

    /// Gives a reservation back whole: the call was not made.
    pub fn release(&mut self, reservation: Reservation) {
        let amount = reservation.amount;
        self.each(&reservation, |sums| sums.reserved = sums.reserved.saturating_sub(amount));
        self.let_go(&reservation.accounts);
    }

    fn keep_open(&mut self, accounts: &AccountSet) {
        for id in &accounts.0 {
            if let Some(slot) = self.slot_mut(*id) {
                slot.open += 1;
            }
        }
    }

    fn let_go(&mut self, accounts: &AccountSet) {
        for id in &accounts.0 {
            if let Some(slot) = self.slot_mut(*id) {
                slot.open = slot.open.saturating_sub(1);
            }
        }
    }

    /// The account of a scope.
    pub fn account(&self, scope: &ScopeId) -> Account {
        let slot = self.places.get(scope).and_then(|id| self.slot(*id));
        slot.map(|slot| self.shown(slot)).unwrap_or_default()
    }

    /// All open accounts, in the order of their scopes.
    pub fn iter(&self) -> impl Iterator<Item = (&ScopeId, Account)> {
        self.in_order().into_iter().filter_map(|(scope, id)| Some((scope, self.shown(self.slot(id)?))))
    }

    fn in_order(&self) -> Vec<(&ScopeId, AccountId)> {
        let mut places: Vec<_> = self.places.iter().map(|(scope, id)| (&**scope, *id)).collect();
        places.sort_unstable();
        places
    }

    /// The scopes of these accounts.
    pub fn scopes(&self, accounts: &AccountSet) -> Vec<ScopeId> {
        accounts.0.iter().filter_map(|id| Some((*self.slot(*id)?.scope).clone())).collect()
    }

    /// Whether a list of scopes stands for these accounts.
    pub fn are(&self, accounts: &AccountSet, scopes: &[ScopeId]) -> bool {
        let place = |scope: &ScopeId| {
            let id = self.places.get(scope)?;
            accounts.0.iter().position(|known| known == id)
        };
        let mut met: Vec<usize> = Vec::with_capacity(accounts.0.len());
        for scope in scopes {
            match place(scope) {
                Some(place) if met.contains(&place) => {}
                Some(place) => met.push(place),
                None => return false,
            }
        }
        met.len() == accounts.0.len()
    }

    /// Forgets a scope that has ended; but not while a reservation is open in it, of nothing even, which
    /// would be settled with another. Whether it is gone.
    pub fn close(&mut self, scope: &ScopeId) -> bool {
        let Some(id) = self.places.get(scope).copied() else { return true };
        if self.slot(id).is_some_and(|slot| slot.open > 0) {
            return false;
        }
        self.places.remove(scope);
        if let Some(place) = self.slots.get_mut(id.0 as usize) {
            *place = None;
        }
        self.free.push(id);
        true
    }

    /// Forgets a scope in which nothing was spent, is reserved, or was told of. Whether it is gone.
    pub fn close_unused(&mut self, scope: &ScopeId) -> bool {
        let is_blank = |bin: &Bin| *bin == Bin { start: bin.start, ..Bin::default() };
        let slot = self.places.get(scope).and_then(|id| self.slot(*id));
        slot.is_none_or(|slot| slot.bins.iter().all(is_blank)) && self.close(scope)
    }

    /// What these accounts have come to of these shares of their limits, and were not said to have in
    /// the same window: of several at once, the highest. It counts as said from now on.
    pub fn reached(&mut self, accounts: &AccountSet, shares: &[Share]) -> Vec<Alert> {
        let mut alerts = Vec::new();
        for id in &accounts.0 {
            for (place, window) in BINS.into_iter().enumerate() {
                alerts.extend(self.reached_in(*id, place, window, shares));
            }
        }
        alerts
    }

    /// The same of every account.
    pub fn reached_anywhere(&mut self, shares: &[Share]) -> Vec<Alert> {
        let all = AccountSet(self.in_order().into_iter().map(|(_, id)| id).collect());
        self.reached(&all, shares)
    }

    /// That something was refused, where shares are told at all; once in a window, and anew when the limit
    /// has risen. It says nothing of shares: a call may be too large for a budget that is hardly used.
    pub fn refused(&mut self, refusal: &Refusal, shares: &[Share]) -> Option<Alert> {
        let id = *self.places.get(&refusal.scope)?;
        let place = BINS.iter().position(|bin| *bin == refusal.window)?;
        let slot = self.slot(id).filter(|_| !shares.is_empty())?;
        let limit = slot.limits.of(refusal.window).filter(|limit| !limit.is_zero())?;
        let bin = self.bin(slot, place, refusal.window);
        if bin.refused.is_some_and(|told| told >= limit) {
            return None;
        }
        let alert = self.alert(slot, refusal.window, AlertEvent::Refused(refusal.asked), (bin.sums.spent, limit));
        self.note(id, place, refusal.window, |bin| bin.refused = Some(limit));
        Some(alert)
    }

    fn reached_in(&mut self, id: AccountId, place: usize, window: Option<Window>, shares: &[Share]) -> Option<Alert> {
        let slot = self.slot(id)?;
        let limit = slot.limits.of(window).filter(|limit| !limit.is_zero())?;
        let Bin { sums: Sums { spent, .. }, told: before, .. } = self.bin(slot, place, window);
        // Of a limit that has risen since, less is reached than was told; the rest may be told again.
        let told =
            before.and_then(|told| if spent >= told.of(limit) { Some(told) } else { Share::reached(spent, limit) });
        let is_reached = |share: &Share| Some(*share) > told && spent >= share.of(limit);
        let share = shares.iter().copied().filter(is_reached).max();
        let alert = share.map(|share| self.alert(slot, window, AlertEvent::Share(share), (spent, limit)));
        let told = share.or(told);
        if told != before {
            self.note(id, place, window, |bin| bin.told = told);
        }
        alert
    }

    fn alert(&self, slot: &Slot, window: Option<Window>, event: AlertEvent, (spent, limit): (Money, Money)) -> Alert {
        let since = window.map(|window| self.calendar.frame(window).start);
        Alert { scope: (*slot.scope).clone(), window, since, event, spent, limit }
    }

    /// That an alert is out: it is not given again.
    pub fn told(&mut self, alert: &Alert) {
        let place = BINS.iter().position(|bin| *bin == alert.window);
        let is_now = alert.window.map(|window| self.calendar.frame(window).start) == alert.since;
        if let (Some(id), Some(place), true) = (self.places.get(&alert.scope).copied(), place, is_now) {
            self.note(id, place, alert.window, |bin| match alert.event {
                AlertEvent::Share(share) => bin.told = bin.told.max(Some(share)),
                AlertEvent::Refused(_) => bin.refused = bin.refused.max(Some(alert.limit)),
            });
        }
    }

    fn note(&mut self, id: AccountId, place: usize, window: Option<Window>, note: impl FnOnce(&mut Bin)) {
        let start = self.start(window);
        if let Some(slot) = self.slot_mut(id) {
            note(slot.bins[place].at(start));
        }
    }

    /// What a snapshot keeps of it, with these reservations.
    pub fn keep<'r, K>(&self, reservations: impl Iterator<Item = (K, &'r Reservation)>) -> Kept<K> {
        let mut lines = vec![u32::MAX; self.slots.len()];
        let mut accounts = Vec::with_capacity(self.places.len());
        for (line, (scope, id)) in (0..).zip(self.in_order()) {
            if let (Some(slot), Some(place)) = (self.slot(id), lines.get_mut(id.0 as usize)) {
                *place = line;
                accounts.push((scope.clone(), slot.bins));
            }
        }
        let line = |id: &AccountId| lines.get(id.0 as usize).copied();
        let kept = |(key, kept): (K, &Reservation)| {
            (key, kept.accounts.0.iter().filter_map(line).collect(), kept.amount, kept.at)
        };
        Kept {
            zone: self.calendar.zone().clone(),
            now: self.calendar.now(),
            accounts,
            reservations: reservations.map(kept).collect(),
        }
    }

    /// Takes up what a snapshot kept, with its reservations. Nothing, where it was kept in another zone:
    /// its days and months are not those of this one; or where it contradicts itself.
    pub fn restore<K>(
        kept: Kept<K>,
        zone: &Zone,
        limits: impl Fn(&ScopeId) -> Limits,
    ) -> Option<(Self, Vec<(K, Reservation)>)> {
        if kept.zone != *zone {
            return None;
        }
        let mut accounts = Self::new(kept.zone);
        accounts.advance(kept.now);
        let mut ids = Vec::with_capacity(kept.accounts.len());
        for (scope, bins) in kept.accounts {
            let id = accounts.add(&scope, limits(&scope));
            if let Some(slot) = accounts.slot_mut(id) {
                slot.bins = bins;
            }
            ids.push(id);
        }
        let mut reservations = Vec::with_capacity(kept.reservations.len());
        for (key, lines, amount, at) in kept.reservations {
            let set = AccountSet(lines.iter().map(|line| ids.get(*line as usize).copied()).collect::<Option<_>>()?);
            accounts.keep_open(&set);
            reservations.push((key, Reservation { accounts: set, amount, at }));
        }
        Some((accounts, reservations))
    }

    /// The same, without what these reservations hold.
    #[must_use]
    pub fn without<'r>(&self, reservations: impl Iterator<Item = &'r Reservation>) -> Self {
        let mut accounts = self.clone();
        for reservation in reservations {
            accounts.release(reservation.copy());
        }
        accounts
    }

    /// Changes the sums of every account of a reservation, of the total and of the windows of its moment.
    fn each(&mut self, reservation: &Reservation, change: impl Fn(&mut Sums)) {
        let starts = BINS.map(|window| {
            let is_in = window.is_none_or(|window| self.calendar.frame(window).contains(reservation.at));
            is_in.then(|| self.start(window))
        });
        for id in &reservation.accounts.0 {
            let Some(slot) = self.slots.get_mut(id.0 as usize).and_then(Option::as_mut) else { continue };
            for (bin, start) in slot.bins.iter_mut().zip(starts) {
                if let Some(start) = start {
                    change(&mut bin.at(start).sums);
                }
            }
        }
    }

    /// When a window started; that of the total is one moment.
    fn start(&self, window: Option<Window>) -> Timestamp {
        window.map_or(Timestamp::EPOCH, |window| self.calendar.frame(window).start)
    }

    fn bin(&self, slot: &Slot, place: usize, window: Option<Window>) -> Bin {
        let (bin, start) = (slot.bins[place], self.start(window));
        if bin.start == start { bin } else { Bin { start, ..Bin::default() } }
    }

    fn sums(&self, slot: &Slot, place: usize, window: Option<Window>) -> Sums {
        self.bin(slot, place, window).sums
    }

    fn shown(&self, slot: &Slot) -> Account {
        let Sums { spent, reserved } = slot.bins[0].sums;
        let windows = Window::ALL.map(|window| self.sums(slot, window.index() + 1, Some(window)));
        Account { limits: slot.limits, spent, reserved, windows }
    }

    fn slot(&self, id: AccountId) -> Option<&Slot> {
        self.slots.get(id.0 as usize).and_then(Option::as_ref)
    }

    fn slot_mut(&mut self, id: AccountId) -> Option<&mut Slot> {
        self.slots.get_mut(id.0 as usize).and_then(Option::as_mut)
    }
}
