package main

// Exports Pick. There is nothing to change here.

import "unsafe"

// Refusal says why no backend was chosen: Fallback, Wait, or an HTTP status.
type Refusal uint16

const (
	Fallback Refusal = 0
	Wait     Refusal = 1
)

// Chosen is the answer with an index of the list.
func Chosen(index int) (int, *Refusal) { return index, nil }

// Refuse is the answer with no backend.
func Refuse(why Refusal) (int, *Refusal) { return 0, &why }

var choice struct {
	refused uint8
	answer  struct {
		index uint32
	}
}

//go:wasmexport anubis:lb/strategy@0.1.0#pick
func exportedPick(key, random, sequence, nowUs uint64, generation, attempt uint32, backends unsafe.Pointer, count uint32) unsafe.Pointer {
	request := Request{key, random, sequence, nowUs, generation, attempt}
	index, refusal := Pick(&request, unsafe.Slice((*Backend)(backends), count))
	choice.refused, choice.answer.index = 0, uint32(index)
	if refusal != nil {
		choice.refused, choice.answer.index = 1, uint32(min(*refusal, 2))|uint32(*refusal)<<16
	}
	returned()
	return unsafe.Pointer(&choice)
}
