//! What a hospital is made of, and how its systems are told.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;

use super::process::Start;
use crate::hospital::Data;
use crate::hospital::system::{Addresses, ODOO_PASSWORD, POSTGRES, RealSystems, System};

/// What a hospital is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where its databases are.
    pub data: Data,
    /// Where its systems listen.
    pub addresses: Addresses,
    /// Where the console listens.
    pub console: SocketAddr,
    /// What there is in the place of stand-ins.
    pub real: RealSystems,
    /// How long nothing may get better before it is given up that all will agree.
    pub patience: Duration,
    /// Whether somebody looks on who mends what is broken on purpose, however long that takes.
    pub is_looked_at: bool,
}

impl Settings {
    /// Where a system is, or what is in its place.
    pub(super) fn place(&self, system: System) -> String {
        let real = match system {
            System::Erp => self.real.odoo.as_ref().map(|odoo| odoo.url.to_string()),
            System::Imaging => self.real.modality.clone(),
            System::Emr | System::Lab => None,
        };
        real.unwrap_or_else(|| self.addresses.of(system).to_string())
    }

    /// How a system is started: a process of this program. What is secret is in its environment, and not among
    /// its options, which everybody on this machine can see; and only where it is needed.
    pub(super) fn start(&self, system: System) -> anyhow::Result<Start> {
        let mut arguments = Vec::new();
        let mut environment = Vec::from(without_proxy());
        let mut add = |name: &str, value: OsString| arguments.extend([OsString::from(name), value]);
        add("--as", system.option().into());
        add("--listen", self.addresses.of(system).to_string().into());
        for (name, of) in [("--emr", System::Emr), ("--lab", System::Lab)] {
            add(name, self.addresses.url(of)?.to_string().into());
        }
        match &self.data {
            Data::Folder(folder) => {
                add("--data", folder.into());
                environment.push((POSTGRES, None));
            }
            Data::Postgres(url) => environment.push((POSTGRES, Some(url.into()))),
        }
        let odoo = self.real.odoo.as_ref();
        let odoo = odoo.filter(|_| system == System::Erp);
        if let Some(odoo) = odoo {
            add("--odoo", odoo.url.to_string().into());
            add("--odoo-database", odoo.database.as_str().into());
            add("--odoo-user", odoo.user.as_str().into());
        }
        let password = odoo.map(|odoo| odoo.password.as_str().into());
        environment.push((ODOO_PASSWORD, password));
        if let Some(modality) = &self.real.modality
            && system == System::Imaging
        {
            add("--modality", modality.into());
        }
        let program = std::env::current_exe().context("looking for this program itself")?;
        Ok(Start {
            system,
            program,
            arguments,
            environment,
        })
    }
}

/// The systems are on this machine: they reach each other without the proxy that the environment may name.
fn without_proxy() -> [(&'static str, Option<OsString>); 2] {
    const NAMES: [&str; 2] = ["NO_PROXY", "no_proxy"];
    let named = NAMES.iter().filter_map(|name| std::env::var(name).ok());
    let named = named.filter(|hosts| !hosts.trim().is_empty());
    let hosts: Vec<String> = named.chain(["127.0.0.1,localhost".to_owned()]).collect();
    let hosts = OsString::from(hosts.join(","));
    NAMES.map(|name| (name, Some(hosts.clone())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::hospital::erp::OdooAddress;

    #[test]
    fn what_is_secret_is_no_option_and_only_where_it_is_needed() {
        let settings = Settings {
            data: Data::Postgres("postgres://me:key-1@db/hospital".to_owned()),
            addresses: Addresses::usual(),
            console: ([127, 0, 0, 1], 0).into(),
            real: RealSystems {
                odoo: Some(OdooAddress {
                    url: "https://erp.example.org".parse().unwrap(),
                    database: "hospital".to_owned(),
                    user: "integration".to_owned(),
                    password: "key-2".to_owned(),
                }),
                modality: None,
            },
            patience: Duration::ZERO,
            is_looked_at: false,
        };
        for system in System::ALL {
            let start = settings.start(system).unwrap();
            let options = format!("{:?}", start.arguments);
            assert!(!options.contains("key-"), "{options}");
            let is_erp = system == System::Erp;
            assert_eq!(options.contains("erp.example.org"), is_erp, "{options}");
            let of = |name: &str| {
                let mut variables = start.environment.iter();
                let (_, value) = variables.find(|(known, _)| *known == name).unwrap();
                value.as_ref().map(|value| value.to_str().unwrap())
            };
            assert_eq!(of(POSTGRES), Some("postgres://me:key-1@db/hospital"));
            assert_eq!(of(ODOO_PASSWORD), is_erp.then_some("key-2"));
        }
    }
}
