package main

// Exports Configure, Observe, Save and Restore. There is nothing to change here.

import "unsafe"

// Outcome is what became of one attempt.
type Outcome struct {
	Tag                                     uint64
	ID, LatencyUs, Status, Failure, Attempt uint32
}

// Addresses are 32 bits wide, where Go's own pointers have 64.
var (
	result struct {
		failed       uint8
		text, length uint32
	}
	bytes struct{ data, length uint32 }
	wrong string // these two are kept while the proxy reads them
	saved []byte
)

func resultOf(err error) unsafe.Pointer {
	result.failed = 0
	if err != nil {
		wrong = err.Error()
		result.failed = 1
		result.text, result.length = uint32(uintptr(unsafe.Pointer(unsafe.StringData(wrong)))), uint32(len(wrong))
	}
	returned()
	return unsafe.Pointer(&result)
}

//go:wasmexport anubis:lb/config@0.1.0#configure
func exportedConfigure(text unsafe.Pointer, length uint32) unsafe.Pointer {
	return resultOf(Configure(string(unsafe.Slice((*byte)(text), length))))
}

//go:wasmexport anubis:lb/feedback@0.1.0#observe
func exportedObserve(outcomes unsafe.Pointer, count uint32) {
	Observe(unsafe.Slice((*Outcome)(outcomes), count))
	returned()
}

//go:wasmexport anubis:lb/state@0.1.0#save
func exportedSave() unsafe.Pointer {
	saved = Save()
	bytes.data, bytes.length = uint32(uintptr(unsafe.Pointer(unsafe.SliceData(saved)))), uint32(len(saved))
	returned()
	return unsafe.Pointer(&bytes)
}

//go:wasmexport anubis:lb/state@0.1.0#restore
func exportedRestore(data unsafe.Pointer, length uint32) unsafe.Pointer {
	return resultOf(Restore(unsafe.Slice((*byte)(data), length)))
}
