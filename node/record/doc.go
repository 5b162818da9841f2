// Package record hands what was said on the mesh to the medical record: as FHIR R4 resources with UK Core identifiers, each
// with the signature of its author and a proof that anybody can check without Tocsin.
//
// The flow, in processing order:
//
//	Incident ── New ──► Export ── Document ──► one document Bundle, to a file
//	                          └── Plan ──► Upload ── Request ──► Client ──► a FHIR endpoint
//	                                             ◄── Answer ──┘      (resumable, read back, receipts)
//
// [New] takes nothing on trust: it checks every signature, every commitment and every NHS number before a resource is made.
// [Check] holds what comes out against rules that the usual validators do not know. MAPPING.md beside this file says what each
// kind of message becomes. The package is pure but for client.go, which is handed its HTTP client and its clock.
package record
