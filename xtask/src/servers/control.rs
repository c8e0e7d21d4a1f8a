//! Lets tests stop and start Keycloak: one line in, one line out, over a loopback socket.
//!
//! `TOKEN keycloak stop` and `TOKEN keycloak start` are answered by `ok` or `error REASON`, when the deed is done. The
//! token keeps other users of the machine out.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Result;

use crate::servers::keycloak::Keycloak;
use crate::servers::random_word;

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
    pub(crate) fn open(keycloak: Arc<Mutex<Keycloak>>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let control = Self { port: listener.local_addr()?.port(), token: random_word()? };
        let token = control.token.clone();
        // The thread holds no server by itself, or a finished run would not stop them.
        let keycloak = Arc::downgrade(&keycloak);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(keycloak) = keycloak.upgrade() else { return };
                // A caller that went away has lost its answer, nothing more.
                let _ = answer(&stream, &token, |order| {
                    let mut keycloak = keycloak.lock().unwrap_or_else(PoisonError::into_inner);
                    match order {
                        Order::Stop => keycloak.stop(),
                        Order::Start => keycloak.resume(),
                    }
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

fn answer(mut stream: &TcpStream, token: &str, mut obey: impl FnMut(Order) -> Result<()>) -> Result<()> {
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10)))?;
    let mut line = String::new();
    BufReader::new(stream.take(256)).read_line(&mut line)?;
    let reply = match parse(&line, token).map(&mut obey) {
        Some(Ok(())) => "ok\n".to_owned(),
        Some(Err(error)) => format!("error {}\n", error.to_string().lines().next().unwrap_or_default()),
        None => "error not understood\n".to_owned(),
    };
    stream.write_all(reply.as_bytes())?;
    Ok(())
}

fn parse(line: &str, token: &str) -> Option<Order> {
    let words = line.strip_suffix('\n')?.strip_prefix(token)?;
    match words {
        " keycloak stop" => Some(Order::Stop),
        " keycloak start" => Some(Order::Start),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn understands_its_two_orders() {
        assert_eq!(parse("t0ken keycloak stop\n", "t0ken"), Some(Order::Stop));
        assert_eq!(parse("t0ken keycloak start\n", "t0ken"), Some(Order::Start));
    }

    #[test]
    fn refuses_a_wrong_token_a_cut_line_and_other_words() {
        for line in [
            "other keycloak stop\n",
            "keycloak stop\n",
            " keycloak stop\n",
            "t0ken keycloak stop",
            "t0ken keycloak restart\n",
            "t0ken moto stop\n",
            "t0ken keycloak stop now\n",
            "",
        ] {
            assert_eq!(parse(line, "t0ken"), None, "{line:?}");
        }
    }
}
