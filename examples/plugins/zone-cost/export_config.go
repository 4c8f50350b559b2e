package main

// Exports Configure, and imports what a backend's zone is called. There is nothing to
// change here.

import "unsafe"

var configured struct {
	failed uint8
	text   uint32 // an address: Go's own pointers are 64 bits wide
	length uint32
}

var wrong string // kept while the proxy reads it

//go:wasmexport anubis:lb/config@0.1.0#configure
func exportedConfigure(text unsafe.Pointer, length uint32) unsafe.Pointer {
	configured.failed = 0
	if err := Configure(string(unsafe.Slice((*byte)(text), length))); err != nil {
		wrong = err.Error()
		configured.failed = 1
		configured.text, configured.length = uint32(uintptr(unsafe.Pointer(unsafe.StringData(wrong)))), uint32(len(wrong))
	}
	returned()
	return unsafe.Pointer(&configured)
}
