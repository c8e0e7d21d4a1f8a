//! Listens to all that is asked of one server, as its operator can.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::control::Direct;
use crate::setup::password_and_address;

pub(crate) struct Monitor(JoinHandle<String>);

impl Monitor {
    /// Listens from when this has returned.
    pub(crate) fn of(url: &str) -> Self {
        let (password, address) = password_and_address(url);
        let mut stream = TcpStream::connect(address).expect("Redis listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        stream.write_all(format!("AUTH {password}\r\nMONITOR\r\n").as_bytes()).expect("it is asked");
        let mut seen = Vec::new();
        while seen != b"+OK\r\n+OK\r\n" {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("it answers");
            seen.push(byte[0]);
            assert!(seen.len() <= 10, "{}", String::from_utf8_lossy(&seen));
        }
        Self(std::thread::spawn(move || {
            let mut seen = Vec::new();
            let mut part = [0; 65536];
            while !seen.windows(END.len()).any(|window| window == END.as_bytes()) {
                let length = stream.read(&mut part).expect("it goes on");
                seen.extend_from_slice(&part[..length]);
            }
            String::from_utf8(seen).expect("what is no text comes escaped")
        }))
    }

    /// Returns all that was asked until now.
    pub(crate) fn stop_at(self, direct: &mut Direct) -> String {
        let _: String = direct.must(&[b"ECHO", END.as_bytes()]);
        self.0.join().expect("it listened")
    }

    /// Returns the lines about a key: those that were asked, and those that a script asked.
    pub(crate) fn about<'s>(seen: &'s str, key: &str) -> (Vec<&'s str>, Vec<&'s str>) {
        seen.lines().filter(|line| line.contains(key)).partition(|line| !line.contains(" lua] "))
    }
}

const END: &str = "this-is-where-the-monitor-ends";
