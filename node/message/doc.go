// Package message defines what clinicians say: the kinds of message, their fields and rules, and their one encoding.
//
// A message is the payload inside a sealed envelope. It is deterministic CBOR (RFC 8949 section 4.2): one map
// {0: kind, 1: sent, 2: content} with definite lengths, shortest forms and sorted keys. [Decode] is strict: it refuses
// anything that would not encode to exactly the same bytes again, so that a message has one encoding and one hash.
//
// A message of a kind that this version does not know is not an error: it is kept byte for byte, shown as "a message
// of a newer kind", and read properly by the version that knows it. Nothing a colleague said is dropped for being new.
//
// The package is pure: no clock, no socket, no store. Every type in it that can hold what was said redacts itself when
// it is logged or printed; the text comes out only through its field.
package message
