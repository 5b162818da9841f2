package inbox

// ApplyReceipt takes in a receipt that has no entry of its own, because it came with others in one: it names itself by nothing, and
// applied again it changes nothing. The item holds a [message.Receipt].
func (in *Inbox) ApplyReceipt(it Item) Change {
	in.mu.Lock()
	defer in.mu.Unlock()
	changed := in.applyReceipt(in.conversation(it.Group), it)
	return Change{New: len(changed) > 0, Delivery: changed}
}

// MarkRead notes that this device's reader has read messages, whose receipts follow when they are due.
func (in *Inbox) MarkRead(id GroupID, entries ...EntryID) {
	in.mu.Lock()
	defer in.mu.Unlock()
	c := in.conversation(id)
	for _, entry := range entries {
		m := in.marks(receiptKey{id, entry})
		if m.own {
			continue
		}
		m.own = true
		if at := in.seen[entry]; at.shown && at.group == id && !c.items[c.find(entry, at)].Own {
			c.unread--
		}
	}
}

// marks returns the receipts for a message.
func (in *Inbox) marks(key receiptKey) *marks {
	m := in.receipts[key]
	if m == nil {
		m = &marks{}
		in.receipts[key] = m
	}
	return m
}

// number is how marks name a device.
func (c *conversation) number(device string) int {
	n, ok := c.numbers[device]
	if !ok {
		if c.numbers == nil {
			c.numbers = make(map[string]int)
		}
		n = len(c.numbers) + 1
		c.numbers[device] = n
	}
	return n
}

// far is how far the message has come with a device; number 0 is one of which no receipt came.
func (m *marks) far(number int) reached {
	if number == 0 || number > len(m.by) {
		return 0
	}
	return m.by[number-1]
}

// reach notes how far the message has come with a device, and reports whether that is news.
func (m *marks) reach(number int, far reached) bool {
	if m.far(number) >= far {
		return false
	}
	if number > len(m.by) {
		m.by = append(m.by, make([]reached, number-len(m.by))...)
	}
	m.by[number-1] = far
	return true
}
