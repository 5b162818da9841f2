// Package node is one device of the mesh at work: it joins the identity, the
// vault, the groups, the ledger and the mesh into the two flows of the design.
//
// Outbound (outbound.go): a message is sealed at its reserved place, signed,
// made durable and only then published. Inbound (inbound.go): every frame,
// whether it came by gossip or by synchronisation, is verified and appended by
// one function; the drain (drain.go) then works from a durable cursor per log
// and opens what is ours, each opened message, ratchet state and cursor in one
// journal record. A crash between any two steps loses nothing and shows
// nothing twice.
//
// A locked node has no signing key, no group state and no opened messages. It
// still appends, serves and forwards, because that needs only its relay keys.
// It also takes statements of trust (trust.go) and acts on them at once:
// connections are cut, groups rotate with the next message, and an order to wipe
// this device is carried out (wipe.go) while a receipt is handed to its neighbours.
package node
