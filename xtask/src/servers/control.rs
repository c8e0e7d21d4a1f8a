//! Lets tests stop and start a server: one line in, one line out, over a loopback socket.
//!
//! `TOKEN NAME stop` and `TOKEN NAME start` are answered by `ok` or `error REASON`, when the deed is done. The token
//! keeps other users of the machine out.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use anyhow::{Context, Result};

use crate::servers::random_word;
use crate::servers::running::Resident;

/// The listening socket's address and its password; the thread behind it lives as long as the program.
pub(crate) struct Control {
    port: u16,
    token: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Order {
    Stop,
    Start,
}

impl Control {
    /// Listens to orders about these servers, each under its name.
    pub(crate) fn open(residents: &[(&'static str, Arc<Mutex<Resident>>)]) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let control = Self { port: listener.local_addr()?.port(), token: random_word()? };
        let token: Arc<str> = control.token.as_str().into();
        // The threads hold no server by themselves, or a finished run would not stop them.
        let residents: Arc<[_]> = residents.iter().map(|(name, resident)| (*name, Arc::downgrade(resident))).collect();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (token, residents) = (Arc::clone(&token), Arc::clone(&residents));
                // Nobody waits for a server that somebody else is starting.
                thread::spawn(move || {
                    // A caller that went away has lost its answer, nothing more.
                    let _ = answer(&stream, &token, |name, order| obey(&residents, name, &order));
                });
            }
        });
        Ok(control)
    }

    /// Returns `127.0.0.1:PORT:TOKEN`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}:{}", self.port, self.token)
    }
}

fn obey(residents: &[(&'static str, Weak<Mutex<Resident>>)], name: &str, order: &Order) -> Result<()> {
    let resident = residents.iter().find(|(known, _)| *known == name).and_then(|(_, resident)| resident.upgrade());
    let resident = resident.context("no such server runs")?;
    let mut resident = resident.lock().unwrap_or_else(PoisonError::into_inner);
    match order {
        Order::Stop => resident.stop(),
        Order::Start => resident.resume(),
    }
}

fn answer(mut stream: &TcpStream, token: &str, obey: impl FnOnce(&str, Order) -> Result<()>) -> Result<()> {
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10)))?;
    let mut line = String::new();
    BufReader::new(stream.take(256)).read_line(&mut line)?;
    let reply = match parse(&line, token).map(|(name, order)| obey(name, order)) {
        Some(Ok(())) => "ok\n".to_owned(),
        Some(Err(error)) => format!("error {}\n", error.to_string().lines().next().unwrap_or_default()),
        None => "error not understood\n".to_owned(),
    };
    stream.write_all(reply.as_bytes())?;
    Ok(())
}

fn parse<'l>(line: &'l str, token: &str) -> Option<(&'l str, Order)> {
    let words = line.strip_suffix('\n')?.strip_prefix(token)?.strip_prefix(' ')?;
    match words.split_once(' ')? {
        (name, "stop") => Some((name, Order::Stop)),
        (name, "start") => Some((name, Order::Start)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn understands_its_two_orders() {
        assert_eq!(parse("t0ken keycloak stop\n", "t0ken"), Some(("keycloak", Order::Stop)));
        assert_eq!(parse("t0ken redis start\n", "t0ken"), Some(("redis", Order::Start)));
    }

    #[test]
    fn refuses_a_wrong_token_a_cut_line_and_other_words() {
        for line in [
            "other keycloak stop\n",
            "keycloak stop\n",
            " keycloak stop\n",
            "t0ken keycloak stop",
            "t0ken keycloak restart\n",
            "t0kenkeycloak stop\n",
            "t0ken stop\n",
            "t0ken keycloak stop now\n",
            "",
        ] {
            assert_eq!(parse(line, "t0ken"), None, "{line:?}");
        }
    }

    #[test]
    fn answers_about_a_server_that_does_not_run_with_an_error() {
        let control = Control::open(&[]).unwrap();
        let ask = |line: &str| {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, control.port)).unwrap();
            stream.write_all(line.as_bytes()).unwrap();
            let mut reply = String::new();
            stream.read_to_string(&mut reply).unwrap();
            reply
        };
        assert_eq!(ask(&format!("{} redis stop\n", control.token)), "error no such server runs\n");
        assert_eq!(ask("guess redis stop\n"), "error not understood\n");
    }
}
