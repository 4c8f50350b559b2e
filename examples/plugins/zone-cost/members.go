//go:build wasm

package main

import (
	"strings"
	"unsafe"
)

//go:wasmimport anubis:lb/members@0.1.0 zone
func importedZone(id uint32, maybe unsafe.Pointer)

// zoneOf is the name of the zone of the backend with this id, "" for none.
func zoneOf(id uint32) string {
	var maybe struct {
		some   uint8
		text   uint32 // an address: Go's own pointers are 64 bits wide
		length uint32
	}
	importedZone(id, unsafe.Pointer(&maybe))
	if maybe.some == 0 {
		return ""
	}
	// The text lies in the arena of this call: what is kept is a copy.
	return strings.Clone(unsafe.String((*byte)(unsafe.Pointer(uintptr(maybe.text))), maybe.length))
}
