// Package link is a bad network link between two network namespaces, made in
// user space: a packet that enters one TUN device leaves the other later,
// slower, or not at all. The tests of mesh/netns use it, for the kernels that
// they run on have no emulator of their own.
//
// [Shaper] decides and knows neither clock, chance nor socket; [Link] reads and
// writes packets and does as it says.
package link
