// Package model is a scale model of a mesh: discrete events on a timing wheel, where
// package sim runs real nodes. It says how long messages take, what arrives and what
// heals among a hundred to a million devices.
//
// What one event stands for is a packet with a message at a device. A device has a
// processor and a line that packets wait for, neighbours to hand on to, and the set of
// messages that it holds. Whoever was cut off or off fetches what it lacks from a
// neighbour, as synchronisation does, and then its neighbours fetch from it.
//
// Left out, and so not shown: keys, groups and their epochs, entries and their order,
// admission, discovery, control traffic (it stands in the fitted figures), neighbours that come and
// go on a calm day, and every adversary but the silent one. [Params] were fitted to runs of real
// nodes; package sim holds the points and draws both.
//
// A run is fixed by its [Spec]: the same one gives the same result, event for event.
package model
