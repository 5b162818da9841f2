// Package netns holds the tests of whole networks: real `tocsin up` processes in
// network namespaces of their own, joined by bridges and routers that are cut,
// rewired and given new addresses, behind NAT, and over the bad links of
// mesh/netns/link. There is no other code in it.
//
// The tests need Linux, root, iproute2 and nft. Elsewhere they are skipped and say
// so; where CI is set, what is missing fails them. The usual run is a short form;
// TOCSIN_NETNS=all runs every scenario in full:
//
//	TOCSIN_NETNS=all go test -count=1 -timeout 15m ./mesh/netns
//
// A namespace lives as long as a process that holds it, and that process ends
// with the test's: nothing is left behind, however the test ends.
package netns
