//! Rows into a plugin's memory in one copy.
//!
//! A list of records that wasmtime lowers field by field costs 65 ns a backend;
//! the same bytes copied at once 0.7 ns. [`Row`] has the layout that the
//! canonical ABI prescribes for the contract's `backend`, so the list is copied
//! as it lies. The trait methods used are public but undocumented: the wasmtime
//! minor is pinned, and the tests compare with the derived form.

#![allow(unsafe_code, reason = "wasmtime's type traits are unsafe to implement")]

use std::mem::MaybeUninit;

use wasmtime::component::__internal::{
    CanonicalAbiInfo, InstanceType, InterfaceType, LowerContext,
};
use wasmtime::component::{ComponentExportIndex, ComponentType, Func, Instance, Lower, TypedFunc};
use wasmtime::{Result, StoreContextMut, bail};

use crate::pool::Row;

use super::bindings::{PickResult, Request};

#[cfg(target_endian = "big")]
compile_error!("rows are copied as they lie: guest memory is little-endian");

/// The derived form of [`Row`]: its type, its layout, and what one row alone
/// is lowered by. Public only because a public type's lowered form may not be private.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lower)]
#[component(record)]
pub struct Derived {
    id: u32,
    weight: u32,
    capacity: u32,
    priority: u32,
    zone: u32,
    #[component(name = "in-flight")]
    in_flight: u32,
    #[component(name = "latency-us")]
    latency_us: u32,
    failures: u32,
    utilization: u32,
    state: u32,
}

impl From<&Row> for Derived {
    fn from(row: &Row) -> Self {
        Self {
            id: row.id,
            weight: row.weight,
            capacity: row.capacity,
            priority: row.priority,
            zone: row.zone,
            in_flight: row.in_flight,
            latency_us: row.latency_us,
            failures: row.failures,
            utilization: row.utilization,
            state: row.state,
        }
    }
}

const _: () = {
    assert!(size_of::<Row>() == <Derived as ComponentType>::SIZE32);
    assert!(align_of::<Row>() == <Derived as ComponentType>::ALIGN32 as usize);
};

// SAFETY: everything is the derived form's, whose type check accepts exactly
// the contract's record; `Row` is only another Rust view of the same fields.
unsafe impl ComponentType for Row {
    type Lower = <Derived as ComponentType>::Lower;
    const ABI: CanonicalAbiInfo = <Derived as ComponentType>::ABI;
    const MAY_REQUIRE_REALLOC: bool = <Derived as ComponentType>::MAY_REQUIRE_REALLOC;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        Derived::typecheck(ty, types)
    }
}

// SAFETY: single rows are lowered by the derived form. A list is written by a
// checked copy of bytes that lie exactly as the canonical ABI lays the record
// out: ten little-endian u32 in declaration order, size and alignment asserted
// above, order compared with the derived form by the tests.
unsafe impl Lower for Row {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        dst: &mut MaybeUninit<Self::Lower>,
    ) -> Result<()> {
        Derived::from(self).linear_lower_to_flat(cx, ty, dst)
    }

    fn linear_lower_to_memory<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        offset: usize,
    ) -> Result<()> {
        Derived::from(self).linear_lower_to_memory(cx, ty, offset)
    }

    #[inline]
    fn linear_store_list_to_memory<T>(
        cx: &mut LowerContext<'_, T>,
        _ty: InterfaceType,
        offset: usize,
        rows: &[Self],
    ) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(rows);
        let place = cx
            .as_slice_mut()
            .get_mut(offset..)
            .and_then(|memory| memory.get_mut(..bytes.len()));
        let Some(place) = place else {
            bail!("the plugin's memory has no room for the list of backends");
        };
        place.copy_from_slice(bytes);
        Ok(())
    }
}

/// An export that takes the list of backends, its type checked once. wasmtime's
/// typed function is bound to the lifetime of the list it is called with, so
/// the unbound one is kept and bound for every call.
pub(super) struct PickFunc(Func);

impl PickFunc {
    pub(super) fn find<T>(
        store: &mut StoreContextMut<'_, T>,
        instance: &Instance,
        export: &ComponentExportIndex,
    ) -> Result<Self> {
        let typed = instance.get_typed_func::<(Request, &[Row]), (PickResult,)>(store, export)?;
        Ok(Self(*typed.func()))
    }

    #[inline]
    pub(super) fn call<T: 'static>(
        &self,
        store: StoreContextMut<'_, T>,
        request: Request,
        rows: &[Row],
    ) -> Result<PickResult> {
        // SAFETY: `find` checked this function against the same types; only
        // the lifetime of the slice differs.
        let typed = unsafe { TypedFunc::<(Request, &[Row]), (PickResult,)>::new_unchecked(self.0) };
        typed.call(store, (request, rows)).map(|(result,)| result)
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::Store;
    use wasmtime::component::{Component, Linker};

    use crate::plugin::bindings::interface;
    use crate::plugin::guests::{engine, wasm};
    use crate::strategy::PickRequest;

    use super::*;

    /// What the guest `field` sees at one place of a list that was lowered as
    /// `[T]`.
    fn seen<T: Lower>(list: &[T], row: u32, field: u32) -> u32 {
        let engine = engine().wasmtime();
        let component = Component::from_binary(engine, &wasm("field")).unwrap();
        let mut linker = Linker::new(engine);
        linker.instance(&interface("types")).unwrap();
        let mut store = Store::new(engine, ());
        store.set_epoch_deadline(1 << 20);
        let instance = linker.instantiate(&mut store, &component).unwrap();
        let strategy = instance
            .get_export_index(&mut store, None, &interface("strategy"))
            .unwrap();
        let pick = instance
            .get_export_index(&mut store, Some(&strategy), "pick")
            .unwrap();
        let pick = instance
            .get_typed_func::<(Request, &[T]), (PickResult,)>(&mut store, pick)
            .unwrap();
        let request = PickRequest {
            generation: field,
            attempt: row,
            ..PickRequest::default()
        };
        let (result,) = pick.call(&mut store, ((&request).into(), list)).unwrap();
        result.unwrap()
    }

    #[test]
    fn the_bulk_copy_is_what_the_derived_form_writes() {
        let number = |row: u32, field: u32| 0x0101_0000 * (row + 1) + field;
        let rows: Vec<Row> = (0..3)
            .map(|row| {
                let fields: [u32; 10] = std::array::from_fn(|field| number(row, field as u32));
                bytemuck::cast(fields)
            })
            .collect();
        let derived: Vec<Derived> = rows.iter().map(Derived::from).collect();
        for row in 0..3 {
            for field in 0..10 {
                let bulk = seen(&rows, row, field);
                assert_eq!(bulk, number(row, field));
                assert_eq!(bulk, seen(&derived, row, field), "{row} {field}");
            }
        }
    }
}
