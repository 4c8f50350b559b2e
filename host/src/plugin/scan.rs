//! A look at a binary before anything compiles it.
//!
//! The compiler's own limits are those of browsers: 7 MB of code in one
//! function, a million types. Each is enough to keep it busy for minutes or to
//! end it for want of memory or stack. So what no plugin needs is refused here,
//! by name and number.
//!
//! The walk is a loop over sections and operators: it does not recurse, holds
//! nothing that grows with what the binary claims, and costs a few milliseconds
//! a megabyte.

use anyhow::{Result, anyhow, ensure};
use wasmparser::{
    ComponentInstance, ComponentInstanceSectionReader, CustomSectionReader, ElementItems,
    ElementSectionReader, Encoding, FunctionBody, Instance, InstanceSectionReader, KnownCustom,
    MemorySectionReader, Name, Operator, Parser, Payload, ProducersSectionReader, SectionLimited,
};

use super::imports::escape;

#[cfg(test)]
mod tests;

/// A page of linear memory, in bytes.
const PAGE: u64 = 64 * 1024;
/// Most producers that are told, and the most bytes of one.
const PRODUCERS: usize = 16;
const PRODUCER_BYTES: usize = 64;

/// What is true of one thing in a binary, and how much of it is taken.
struct Limit {
    what: &'static str,
    most: u64,
}

/// Compile time grows faster than a function's size. The interpreter loop of
/// Python has 417 KiB, that of QuickJS 53 KiB.
const FUNCTION_BYTES: Limit = Limit::new("bytes of code in one function", 1 << 20);
/// Each is a variable to the compiler. Python has 271 in one function.
const LOCALS: Limit = Limit::new("locals in one function", 5_000);
/// A large `switch` is as many nested blocks. Python's interpreter loop has 781.
const BLOCK_DEPTH: Limit = Limit::new("nested blocks in one function", 2_000);
/// The cases of one `switch`. Python has one with 3,202.
const BRANCH_TARGETS: Limit = Limit::new("targets of one br_table", 20_000);
/// Instances can multiply with every level. QuickJS's component has 4 levels.
const BINARY_DEPTH: Limit = Limit::new("levels of modules and components", 8);
/// Types are read by recursion: without a limit a file of 100 KiB overflows the
/// stack of whoever reads it, which ends the process. Real ones have a level or
/// two; what is counted is an upper bound, see [`type_nesting`].
const TYPE_NESTING: Limit = Limit::new("levels of component types", 1_000);

impl Limit {
    const fn new(what: &'static str, most: u64) -> Self {
        Self { what, most }
    }

    fn admit(&self, count: impl TryInto<u64>) -> Result<()> {
        // What does not fit is more than any limit.
        let count = count.try_into().unwrap_or(u64::MAX);
        let Self { what, most } = self;
        ensure!(
            count <= *most,
            "too much to compile: {count} {what}, at most {most} are taken"
        );
        Ok(())
    }
}

/// A limit over the whole binary and everything nested in it.
struct Total {
    limit: Limit,
    sum: u64,
}

impl Total {
    const fn of(what: &'static str, most: u64) -> Self {
        Self {
            limit: Limit::new(what, most),
            sum: 0,
        }
    }

    fn add(&mut self, count: impl TryInto<u64>) -> Result<()> {
        let count = count.try_into().unwrap_or(u64::MAX);
        self.sum = self.sum.saturating_add(count);
        self.limit.admit(self.sum)
    }

    fn count<T>(&mut self, section: &SectionLimited<'_, T>) -> Result<()> {
        self.add(section.count())
    }
}

/// What a scan found, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Functions with code of their own.
    pub functions: u64,
    /// Bytes of code.
    pub code: u64,
    /// Linear memory that it begins with, in bytes.
    pub memory: u64,
    /// What it was made with: languages, compilers, tools.
    pub producers: Vec<String>,
    /// Its functions have names, with which a fault says where it happened.
    pub named: bool,
}

/// Looks at a component, or a core module, without compiling it.
///
/// # Errors
/// When the bytes are cut off or damaged, or hold more of something than a
/// plugin needs; the message names both numbers.
pub(super) fn scan(bytes: &[u8]) -> Result<Found> {
    let mut census = Census::new();
    census.walk(bytes, true).map_err(explain)?;
    Ok(Found {
        functions: census.functions.sum,
        code: census.code.sum,
        memory: census.memory_pages.saturating_mul(PAGE),
        producers: census.producers,
        named: census.named,
    })
}

fn explain(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<wasmparser::Error>() {
        Ok(error) => anyhow!("cut off or damaged: {error}"),
        Err(limit) => limit,
    }
}

/// What a binary holds, as far as it has been seen.
struct Census {
    code: Total,
    functions: Total,
    types: Total,
    imports: Total,
    exports: Total,
    globals: Total,
    tables: Total,
    memories: Total,
    tags: Total,
    element_segments: Total,
    elements: Total,
    data_segments: Total,
    modules: Total,
    components: Total,
    instances: Total,
    arguments: Total,
    aliases: Total,
    canonicals: Total,
    component_types: Total,
    custom: Total,
    memory_pages: u64,
    producers: Vec<String>,
    named: bool,
}

impl Census {
    fn new() -> Self {
        Self {
            // A MiB takes about two seconds. Python's runtime has 6.2 MiB.
            code: Total::of("bytes of code", 32 << 20),
            // Each has a fixed cost. Python's runtime has 13,478.
            functions: Total::of("functions", 60_000),
            // Python's runtime: 1,324 types, 2,412 imports, 4,464 exports, 871 globals.
            types: Total::of("types", 20_000),
            imports: Total::of("imports", 20_000),
            exports: Total::of("exports", 50_000),
            globals: Total::of("globals", 20_000),
            // What an instance may have of these is limited again when it starts.
            tables: Total::of("tables", 64),
            memories: Total::of("memories", 16),
            tags: Total::of("tags", 100),
            // Python's runtime: 7 with 5,784 elements.
            element_segments: Total::of("element segments", 10_000),
            elements: Total::of("elements", 200_000),
            // QuickJS has 5,295: a snapshot of a heap is cut at its zeros, into at
            // most as many as the parser takes of one module.
            data_segments: Total::of("data segments", 100_000),
            // Python's runtime has 38 modules, QuickJS 25 components.
            modules: Total::of("modules", 200),
            components: Total::of("components", 200),
            // Python's runtime: 109 instances with 1,571 arguments, 1,439 aliases.
            instances: Total::of("instances", 1_000),
            arguments: Total::of("arguments of instances", 20_000),
            aliases: Total::of("aliases", 20_000),
            canonicals: Total::of("lifted and lowered functions", 5_000),
            // QuickJS has 9.4 KiB.
            component_types: Total::of("bytes of component types", 1 << 20),
            // Debugging information, mostly. Nothing reads it.
            custom: Total::of("bytes of custom sections", 48 << 20),
            memory_pages: 0,
            producers: Vec::new(),
            named: false,
        }
    }

    /// `top` is false for what a custom section of a module holds.
    fn walk(&mut self, bytes: &[u8], top: bool) -> Result<()> {
        let mut depth = 0u32;
        let mut in_module = false;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::Version { encoding, .. } => {
                    depth += 1;
                    BINARY_DEPTH.admit(depth)?;
                    match encoding {
                        Encoding::Module => self.modules.add(1u32)?,
                        Encoding::Component => self.components.add(1u32)?,
                    }
                    in_module = encoding == Encoding::Module;
                }
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::CustomSection(section) => {
                    self.custom_section(&section)?;
                    // What says of which world a lone module is: a component too.
                    let alone = top && in_module && depth == 1;
                    if alone && section.name().starts_with("component-type") {
                        self.walk(section.data(), false)?;
                    }
                }
                payload => self.section(payload, bytes)?,
            }
        }
        Ok(())
    }

    fn section(&mut self, payload: Payload<'_>, bytes: &[u8]) -> Result<()> {
        match payload {
            Payload::TypeSection(section) => self.types.count(&section),
            Payload::ImportSection(section) => self.imports.count(&section),
            Payload::FunctionSection(section) => self.functions.count(&section),
            Payload::TableSection(section) => self.tables.count(&section),
            Payload::MemorySection(section) => self.memories(section),
            Payload::TagSection(section) => self.tags.count(&section),
            Payload::GlobalSection(section) => self.globals.count(&section),
            Payload::ExportSection(section) => self.exports.count(&section),
            Payload::ElementSection(section) => self.element_segments(section),
            Payload::DataSection(section) => self.data_segments.count(&section),
            Payload::CodeSectionEntry(body) => self.function(&body),
            Payload::InstanceSection(section) => self.core_instances(section),
            Payload::ComponentInstanceSection(section) => self.component_instances(section),
            Payload::ComponentAliasSection(section) => self.aliases.count(&section),
            Payload::ComponentCanonicalSection(section) => self.canonicals.count(&section),
            Payload::ComponentImportSection(section) => self.imports.count(&section),
            Payload::ComponentExportSection(section) => self.exports.count(&section),
            Payload::ComponentTypeSection(section) => {
                self.component_types.add(section.range().len())?;
                let types = bytes.get(section.range()).unwrap_or_default();
                TYPE_NESTING.admit(type_nesting(types))
            }
            Payload::CoreTypeSection(section) => self.component_types.add(section.range().len()),
            _ => Ok(()),
        }
    }

    fn memories(&mut self, section: MemorySectionReader<'_>) -> Result<()> {
        self.memories.count(&section)?;
        for memory in section {
            self.memory_pages = self.memory_pages.saturating_add(memory?.initial);
        }
        Ok(())
    }

    fn element_segments(&mut self, section: ElementSectionReader<'_>) -> Result<()> {
        self.element_segments.count(&section)?;
        for segment in section {
            match segment?.items {
                ElementItems::Functions(items) => self.elements.count(&items)?,
                ElementItems::Expressions(_, items) => self.elements.count(&items)?,
            }
        }
        Ok(())
    }

    fn core_instances(&mut self, section: InstanceSectionReader<'_>) -> Result<()> {
        self.instances.count(&section)?;
        for instance in section {
            self.arguments.add(match instance? {
                Instance::Instantiate { args, .. } => args.len(),
                Instance::FromExports(exports) => exports.len(),
            })?;
        }
        Ok(())
    }

    fn component_instances(&mut self, section: ComponentInstanceSectionReader<'_>) -> Result<()> {
        self.instances.count(&section)?;
        for instance in section {
            self.arguments.add(match instance? {
                ComponentInstance::Instantiate { args, .. } => args.len(),
                ComponentInstance::FromExports(exports) => exports.len(),
            })?;
        }
        Ok(())
    }

    fn function(&mut self, body: &FunctionBody<'_>) -> Result<()> {
        let size = body.range().len();
        FUNCTION_BYTES.admit(size)?;
        self.code.add(size)?;
        let mut locals = 0u64;
        for group in body.get_locals_reader()? {
            locals += u64::from(group?.0);
            LOCALS.admit(locals)?;
        }
        let mut depth = 0u32;
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            match operators.read()? {
                Operator::Block { .. }
                | Operator::Loop { .. }
                | Operator::If { .. }
                | Operator::Try { .. }
                | Operator::TryTable { .. } => {
                    depth += 1;
                    BLOCK_DEPTH.admit(depth)?;
                }
                Operator::End => depth = depth.saturating_sub(1),
                Operator::BrTable { targets } => BRANCH_TARGETS.admit(targets.len())?,
                _ => {}
            }
        }
        Ok(())
    }

    fn custom_section(&mut self, section: &CustomSectionReader<'_>) -> Result<()> {
        self.custom.add(section.range().len())?;
        // Only told to people: what cannot be read is left out.
        match section.as_known() {
            KnownCustom::Producers(fields) => self.made_by(fields),
            KnownCustom::Name(mut names) => {
                self.named |= names.any(|part| matches!(part, Ok(Name::Function(_))));
            }
            _ => {}
        }
        Ok(())
    }

    fn made_by(&mut self, fields: ProducersSectionReader<'_>) {
        let values = fields.into_iter().flatten().flat_map(|field| field.values);
        for value in values.flatten() {
            let producer = format!("{} {}", value.name, value.version);
            let producer = escape(producer.trim_end(), PRODUCER_BYTES);
            if self.producers.len() < PRODUCERS && !self.producers.contains(&producer) {
                self.producers.push(producer);
            }
        }
    }
}

/// At most this deep can the component types of a section be nested. A type
/// within a type begins with the byte of a declaration (1) and that of a
/// component (0x41) or instance (0x42) type, one after the other; a reader would
/// recurse once for each.
fn type_nesting(section: &[u8]) -> usize {
    section
        .windows(2)
        .filter(|pair| matches!(pair, [1, 0x41 | 0x42]))
        .count()
}
