package mesh

// The traffic classes, best first. They are the same on a synchronisation
// stream ([Frame].Class), in gossip and in the outbox of a neighbour. A better
// class goes before a worse one everywhere, by weight ([classWeights]), so that
// a flood of the best does not stop the rest.
const (
	// ClassControl is what the rest needs to be read: keys, epochs, statements.
	ClassControl uint8 = 0
	// ClassUrgent is stat and urgent.
	ClassUrgent uint8 = 1
	// ClassRoutine is everything else that people say.
	ClassRoutine uint8 = 2
	// ClassBulk is what is expired, long past or large.
	ClassBulk uint8 = 3
	// classes is how many there are.
	classes = 4
)

// classWeights is how much of a link each class has when all want it.
var classWeights = [classes]int{8, 4, 2, 1}

// Label is what the mesh knows of a frame, which is opaque to it otherwise.
type Label struct {
	// Class is a traffic class; beyond ClassBulk counts as ClassBulk.
	Class uint8
	// First puts a frame before others of its class (stat before urgent).
	First bool
	// Author is whose budget the frame is charged to once it has proved valid;
	// zeros for nobody's.
	Author [32]byte
	// Seq is the place of the frame among those of its author, rising; 0 where that is
	// not known. In each Life of the author it begins anew.
	Seq  uint64
	Life uint32
}

// speaker is who counts places.
type speaker struct {
	author [32]byte
	life   uint32
}

func (l *Label) speaker() speaker { return speaker{l.Author, l.Life} }

// labelOf asks Config.Classify; without it everything is routine.
func (c *Config) labelOf(frame []byte) Label {
	if c.Classify == nil {
		return Label{Class: ClassRoutine}
	}
	l := c.Classify(frame)
	l.Class = min(l.Class, ClassBulk)
	return l
}

// urgent reports whether l travels in the urgent topic.
func (l Label) urgent() bool { return l.Class <= ClassUrgent }
