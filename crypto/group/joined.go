package group

import (
	"slices"

	"tocsin/crypto/identity"
)

// Joined returns the signed headers of the operations that made a device a
// member of a group: the creation by it, and every add of it, whichever of its logs
// they name and whatever became of them later, in no order. They tell since when it may have been one.
func (k *Keyring) Joined(id ID, device identity.LogID) [][]byte {
	g := k.groups[id]
	if g == nil {
		return nil
	}
	name := k.lineage.device(device)
	var headers [][]byte
	for _, o := range g.ops {
		created := o.op.Create != nil && k.lineage.device(o.author()) == name
		added := o.op.Add != nil && k.lineage.device(o.op.Add.Device) == name
		if created || added {
			headers = append(headers, slices.Clone(o.sealed.SignedHeader))
		}
	}
	return headers
}
