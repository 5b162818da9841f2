package group

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"tocsin/crypto/identity"
)

// One encoding each: what is close to right is refused.

func TestStrictOps(t *testing.T) {
	add := &Op{Group: ID{1}, Deps: [][32]byte{{1}, {2}}, Add: &Add{Device: identity.LogID{Author: identity.Key{7}}, Role: RoleMember}}
	create := &Op{Group: ID{1}, Create: &Create{Kind: KindTeam, Name: "Ward 7"}}
	a, c := must(add.Marshal()), must(create.Marshal())
	const deps, kind = 33, 35 // offsets: length of deps, and the kind where there are none
	edit := func(b []byte, f func(b []byte)) []byte {
		b = bytes.Clone(b)
		f(b)
		return b
	}
	for what, b := range map[string][]byte{
		"nothing":                nil,
		"another suite":          edit(a, func(b []byte) { b[0] = 2 }),
		"a byte more":            append(bytes.Clone(a), 0),
		"a byte less":            a[:len(a)-1],
		"deps out of order":      edit(a, func(b []byte) { b[35], b[67] = 2, 1 }),
		"a dep twice":            edit(a, func(b []byte) { b[67] = 1 }),
		"half a dep":             slices.Concat(a[:deps], []byte{0, 16}, a[35:35+16], a[35+64:]),
		"too many deps":          slices.Concat(a[:deps], []byte{2, 32}, make([]byte, 17*32), a[35+64:]),
		"add without deps":       slices.Concat(a[:deps], []byte{0, 0}, a[35+64:]),
		"add with no such role":  edit(a, func(b []byte) { b[len(b)-1] = 3 }),
		"add with role 0":        edit(a, func(b []byte) { b[len(b)-1] = 0 }),
		"create with deps":       slices.Concat(c[:deps], []byte{0, 32}, make([]byte, 32), c[kind:]),
		"create of no kind":      edit(c, func(b []byte) { b[kind+1] = 0 }),
		"create of kind 4":       edit(c, func(b []byte) { b[kind+1] = 4 }),
		"create without a name":  append(bytes.Clone(c[:kind+1+1+32]), 0),
		"remove without deps":    edit(c, func(b []byte) { b[kind] = byte(OpRemove) }),
		"remove with more":       edit(a, func(b []byte) { b[35+64] = byte(OpRemove) }),
		"leave with more":        edit(a, func(b []byte) { b[35+64] = byte(OpLeave) }),
		"state 0":                append(bytes.Clone(a[:35+64]), byte(OpState), 0),
		"state 3":                append(bytes.Clone(a[:35+64]), byte(OpState), 3),
		"half a retention":       append(bytes.Clone(a[:35+64]), byte(OpRetention), 0),
		"role with no such role": edit(a, func(b []byte) { b[35+64], b[len(b)-1] = byte(OpRole), 9 }),
		"appoint by nothing":     append(bytes.Clone(a[:35+64]), byte(OpAppoint), 0, 0),
		"appoint by too much":    slices.Concat(a[:35+64], []byte{byte(OpAppoint), (MaxStatement + 1) >> 8, (MaxStatement + 1) & 255}, make([]byte, MaxStatement+1)),
		"kind 0":                 edit(c, func(b []byte) { b[kind] = 0 }),
		"kind 9":                 edit(a, func(b []byte) { b[35+64] = 9 }),
		"too long":               make([]byte, MaxOpPayload+1),
	} {
		if _, err := ParseOp(b); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := (&Op{Group: ID{1}}).Marshal(); err == nil {
		t.Error("an operation without content was written")
	}
	for _, op := range []*Op{
		{Remove: &Remove{Device: add.Add.Device}}, {Role: &RoleChange{Device: add.Add.Device, Role: RoleAdmin}}, {Leave: &Leave{}},
		{Retention: &Retention{Days: 30}}, {State: &StateChange{State: StateClosed}}, {Appoint: &Appoint{Statement: make([]byte, MaxStatement)}},
	} {
		op.Group, op.Deps = add.Group, add.Deps
		b := must(op.Marshal())
		if back, err := ParseOp(b); err != nil || back.Kind() != op.Kind() || !bytes.Equal(must(back.Marshal()), b) {
			t.Errorf("%s: %v", op.Kind(), err)
		}
	}
}

func TestStrictPages(t *testing.T) {
	header := epochHeader{wrapPages: 2, statePages: 2}
	for what, c := range map[string]struct {
		change func(p *page)
		kind   uint8
		index  uint8
		size   int
		ok     bool
	}{
		"a full page of wraps":   {kind: bodyWraps, size: WrapsPerPage * wrapSize, ok: true},
		"a last page of wraps":   {kind: bodyWraps, index: 1, size: wrapSize, ok: true},
		"a full page of state":   {kind: bodyState, size: StateChunk + gcmTag, ok: true},
		"a last page of state":   {kind: bodyState, index: 1, size: 1 + gcmTag, ok: true},
		"wraps, not full":        {kind: bodyWraps, size: wrapSize},
		"wraps, too full":        {kind: bodyWraps, index: 1, size: (WrapsPerPage + 1) * wrapSize},
		"no wraps":               {kind: bodyWraps, index: 1},
		"half a wrap":            {kind: bodyWraps, index: 1, size: wrapSize / 2},
		"wraps beyond the last":  {kind: bodyWraps, index: 2, size: wrapSize},
		"state, not full":        {kind: bodyState, size: 1000},
		"state, too full":        {kind: bodyState, index: 1, size: StateChunk + gcmTag + 1},
		"state of nothing":       {kind: bodyState, index: 1, size: gcmTag},
		"state beyond the last":  {kind: bodyState, index: 2, size: 1000},
		"another type":           {kind: 4, index: 1, size: wrapSize},
		"an operation with more": {kind: bodyOp, index: 1, size: wrapSize},
		"no page of wraps":       {kind: bodyState, index: 1, size: 1000, change: func(p *page) { p.header.wrapPages = 0 }},
		"too many of wraps":      {kind: bodyState, index: 1, size: 1000, change: func(p *page) { p.header.wrapPages = MaxWrapPages + 1 }},
		"no page of state":       {kind: bodyWraps, index: 1, size: wrapSize, change: func(p *page) { p.header.statePages = 0 }},
		"too many of state":      {kind: bodyWraps, index: 1, size: wrapSize, change: func(p *page) { p.header.statePages = MaxStatePages + 1 }},
	} {
		p := &page{header: header, kind: c.kind, index: c.index, data: make([]byte, c.size)}
		if c.change != nil {
			c.change(p)
		}
		b := must(p.marshal())
		if _, err := parsePage(b); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := parsePage(append(b, 0)); err == nil {
			t.Errorf("%s and a byte more: accepted", what)
		}
		b[1] = 2
		if _, err := parsePage(b); err == nil {
			t.Errorf("%s of another suite: accepted", what)
		}
	}
}

func TestStrictState(t *testing.T) {
	member := func(i int) epochMember {
		return epochMember{device: identity.LogID{Author: identity.Key{byte(i >> 8), byte(i)}}}
	}
	op := SignedOp{SignedHeader: []byte{1}, Payload: []byte{1}}
	list := func(n int) (out []epochMember) {
		for i := range n {
			out = append(out, member(i))
		}
		return out
	}
	follows := func(n int) (out []Succession) {
		for i := range n {
			out = append(out, Succession{Old: member(i).device, New: member(i + 1).device})
		}
		return out
	}
	for what, c := range map[string]struct {
		st epochState
		ok bool
	}{
		"the most successions":         {epochState{successions: follows(maxListed)}, true},
		"a succession too many":        {epochState{successions: follows(maxListed + 1)}, false},
		"a log that follows two":       {epochState{successions: []Succession{{Old: member(1).device, New: member(3).device}, {Old: member(2).device, New: member(3).device}}}, false},
		"a log that follows itself":    {epochState{successions: []Succession{{Old: member(1).device, New: member(1).device}}}, false},
		"successions out of order":     {epochState{successions: []Succession{{Old: member(1).device, New: member(3).device}, {Old: member(1).device, New: member(2).device}}}, false},
		"the largest":                  {epochState{members: list(MaxMembers), ops: slices.Repeat([]SignedOp{op}, MaxMergedOps)}, true},
		"a member too many":            {epochState{members: list(MaxMembers + 1)}, false},
		"an operation too many":        {epochState{members: list(1), ops: slices.Repeat([]SignedOp{op}, MaxMergedOps+1)}, false},
		"members out of order":         {epochState{members: []epochMember{member(2), member(1)}}, false},
		"a member twice":               {epochState{members: []epochMember{member(2), member(2)}}, false},
		"an operation without header":  {epochState{ops: []SignedOp{{Payload: []byte{1}}}}, false},
		"an operation without payload": {epochState{ops: []SignedOp{{SignedHeader: []byte{1}}}}, false},
		"a header too long":            {epochState{ops: []SignedOp{{SignedHeader: make([]byte, MaxSignedHeader+1), Payload: []byte{1}}}}, false},
		"a payload too long":           {epochState{ops: []SignedOp{{SignedHeader: []byte{1}, Payload: make([]byte, MaxOpPayload+1)}}}, false},
	} {
		b := must(c.st.marshal())
		if _, err := parseEpochState(b); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := parseEpochState(append(b, 0)); err == nil {
			t.Errorf("%s and a byte more: accepted", what)
		}
	}
	b := must((&epochState{members: list(1)}).marshal())
	b[32+2+36] = 2
	if _, err := parseEpochState(b); err == nil {
		t.Error("reached is 0 or 1")
	}
}
