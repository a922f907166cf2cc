//! The person at the terminal. Invariant: nothing is asked twice that has its answer, and when
//! nobody is there the run waits as it is.

use std::io::Write;

use agents::run::{ApprovalAsked, Hold, Parked};
use agents::workflow::Action;
use anyhow::Context;
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};

use super::PRINCIPAL;
use crate::system::{Disposal, Fate, System, Word};

/// Whoever reads and types.
pub(super) struct Person {
    /// One reader for all questions: it may have read further than the line that it gave.
    lines: Lines<BufReader<Stdin>>,
}

impl Person {
    pub(super) fn new() -> Self {
        Self { lines: BufReader::new(tokio::io::stdin()).lines() }
    }

    /// Asks whether to go on with what a step shows, unless that has its answer.
    pub(super) async fn approve(&mut self, system: &System, id: &str, question: &ApprovalAsked) -> anyhow::Result<()> {
        let state = system.state(id).await.map_err(anyhow::Error::msg)?;
        if !state.asked().any(|asked| asked.path == question.path) {
            return Ok(());
        }
        println!("\n{}\n", question.what.trim());
        let path = question.path.clone();
        let word = if self.says_yes("publish this?").await? {
            Word::Approve(path)
        } else {
            Word::Reject(path, "rejected at the terminal".to_owned())
        };
        system.say(id, PRINCIPAL, word).await?;
        Ok(())
    }

    /// Asks what became of an effect in doubt, unless it is settled.
    pub(super) async fn settle(&mut self, system: &System, id: &str, parked: &Parked) -> anyhow::Result<()> {
        let state = system.state(id).await.map_err(anyhow::Error::msg)?;
        let Some((_, key, hold)) = state.parked().find(|(path, ..)| **path == parked.path) else { return Ok(()) };
        let word = match hold {
            Hold::Budget { refusal } => {
                println!("\n{refusal}\n");
                if !self.says_yes("is there more money now?").await? {
                    anyhow::bail!("run {id} waits; the same command goes on from here");
                }
                Word::Resume
            }
            Hold::Poison { letter, in_doubt: false, deaths, reason, .. } => {
                println!("\nafter {} deaths this is the dead letter {letter}: {reason}\n", deaths.len());
                let disposal = if self.says_yes("try it again?").await? {
                    Disposal::Replay
                } else {
                    Disposal::Discard("discarded at the terminal".to_owned())
                };
                system.dispose(PRINCIPAL, letter, disposal).await?;
                return Ok(());
            }
            Hold::Doubt { request, .. } | Hold::Poison { request, .. } => {
                if let Action::Publish(post) = &**request {
                    println!("\n{}\n\n{}\n", post.title, post.text.trim());
                    println!("nobody can tell whether `{}` has this post; look there for its title", post.publisher);
                }
                println!("in doubt: {key}\n");
                let done = self.says_yes("was it done?").await?;
                let fate = if done { Fate::Done { id: None, url: None } } else { Fate::NotDone };
                Word::Settle(key.clone(), fate)
            }
        };
        system.say(id, PRINCIPAL, word).await?;
        Ok(())
    }

    async fn says_yes(&mut self, question: &str) -> anyhow::Result<bool> {
        loop {
            print!("{question} [y/n] ");
            std::io::stdout().flush().context("the terminal is gone")?;
            let Some(line) = self.lines.next_line().await.context("the terminal cannot be read")? else {
                anyhow::bail!("nobody is there to answer; run the same command at a terminal, it goes on from here");
            };
            match line.trim().to_lowercase().as_str() {
                "y" | "yes" => return Ok(true),
                "n" | "no" => return Ok(false),
                _ => {}
            }
        }
    }
}
