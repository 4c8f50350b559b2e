//! The header and module through which C, C++ and Zig meet the contract.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::Job;
use crate::toolkit::template::{File, files};

/// The folder of a project that has them.
pub const FOLDER: &str = "bindings";
/// For C and C++.
pub const C: &[File] = files!("wit/bindings/c": "anubis.h");
/// For Zig.
pub const ZIG: &[File] = files!("wit/bindings/zig": "anubis.zig");

/// Where the bindings are: the project's own, or else ours, written aside.
pub fn folder(job: &Job<'_>, ours: &[File]) -> Result<PathBuf> {
    let own = job.folder.join(FOLDER);
    if ours.iter().all(|(name, _)| own.join(name).exists()) {
        return Ok(own);
    }
    let aside = job.scratch.join(FOLDER);
    std::fs::create_dir_all(&aside).with_context(|| aside.display().to_string())?;
    for (name, text) in ours {
        let file = aside.join(name);
        std::fs::write(&file, text).with_context(|| file.display().to_string())?;
    }
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use wit_parser::{Resolve, TypeDefKind};

    use crate::toolkit::encode::WIT;

    /// Field names of a record of the contract.
    fn fields(record: &str) -> Vec<String> {
        let mut resolve = Resolve::default();
        resolve.push_str("lb.wit", WIT).unwrap();
        let mut records = resolve.types.iter().filter_map(|(_, def)| match &def.kind {
            TypeDefKind::Record(fields) if def.name.as_deref() == Some(record) => Some(fields),
            _ => None,
        });
        let fields = &records.next().unwrap().fields;
        fields
            .iter()
            .map(|field| field.name.replace('-', "_"))
            .collect()
    }

    /// They are written by hand: what the contract says must be there in its order.
    #[test]
    fn the_bindings_have_the_fields_of_the_contract() {
        let (c, zig) = (super::C[0].1, super::ZIG[0].1);
        for (record, in_zig) in [
            ("backend", "Backend"),
            ("request", "Request"),
            ("outcome", "Outcome"),
        ] {
            let end = c.find(&format!("}} anubis_{record};")).unwrap();
            let in_c = &c[c[..end].rfind("typedef struct {").unwrap()..end];
            let start = zig.find(&format!("pub const {in_zig} = ")).unwrap();
            let in_zig = &zig[start..start + zig[start..].find("};").unwrap()];
            for (lines, name_in) in [
                (in_c, name_in_c as fn(&str) -> Option<&str>),
                (in_zig, name_in_zig),
            ] {
                let names: Vec<&str> = lines.lines().skip(1).filter_map(name_in).collect();
                assert_eq!(names, fields(record), "{record}");
            }
        }
        for interface in ["strategy", "planner", "config", "feedback", "state"] {
            let name = format!("anubis:lb/{interface}@0.1.0#");
            assert!(c.contains(&name) && zig.contains(&name), "{interface}");
        }
    }

    fn name_in_c(line: &str) -> Option<&str> {
        line.split_once(';')?.0.split_whitespace().last()
    }

    fn name_in_zig(line: &str) -> Option<&str> {
        Some(line.split_once(':')?.0.trim())
    }
}
