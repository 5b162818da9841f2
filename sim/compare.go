package sim

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// MinCompared is how many seeds a comparison needs: what differs in fewer may be chance.
const MinCompared = 10

// Comparison holds the runs of two scenarios, seed by seed, against each other.
type Comparison struct {
	A, B string // what they are called
	Runs int    // pairs of runs
	Rows []Compared
	// VerdictsA and VerdictsB say how the runs ended.
	VerdictsA, VerdictsB string
}

// Compared is one measure of both.
type Compared struct {
	Measure, Words, Unit string
	Pairs                int // runs in which both had it
	MeanA, MeanB         float64
	// Low and High bound the mean of B - A, seed by seed, with 95 % (Student's t). Where
	// the interval does not hold zero, the two differ.
	Diff, Low, High float64
	Differ          bool
}

// Compare pairs the runs of two scenarios by their seeds. Runs without a partner, and fewer
// than [MinCompared] pairs, are an [InputError].
func Compare(nameA, nameB string, a, b []Summary) (*Comparison, error) {
	bySeed := make(map[uint64]Summary, len(b))
	for _, s := range b {
		bySeed[s.Seed] = s
	}
	c := &Comparison{A: nameA, B: nameB, VerdictsA: tally(a), VerdictsB: tally(b)}
	values := make(map[string][][2]float64)
	for _, s := range a {
		other, ok := bySeed[s.Seed]
		if !ok {
			return nil, badInput("seed %d was run for %s and not for %s: compare runs of the same seeds", s.Seed, nameA, nameB)
		}
		delete(bySeed, s.Seed)
		c.Runs++
		for name, v := range s.Measures {
			if w, ok := other.Measures[name]; ok {
				values[name] = append(values[name], [2]float64{v, w})
			}
		}
	}
	for seed := range bySeed {
		return nil, badInput("seed %d was run for %s and not for %s: compare runs of the same seeds", seed, nameB, nameA)
	}
	if c.Runs < MinCompared {
		return nil, badInput("a comparison takes at least %d seeds, not %d: what differs in fewer may be chance", MinCompared, c.Runs)
	}
	for _, name := range measureNames() {
		if pairs := values[name]; len(pairs) >= 2 {
			c.Rows = append(c.Rows, compared(name, pairs))
		}
	}
	return c, nil
}

func compared(name string, pairs [][2]float64) Compared {
	m := measures[name]
	r := Compared{Measure: name, Words: m.words, Unit: m.unit, Pairs: len(pairs)}
	n := float64(len(pairs))
	for _, p := range pairs {
		r.MeanA += p[0]
		r.MeanB += p[1]
	}
	r.MeanA, r.MeanB = r.MeanA/n, r.MeanB/n
	r.Diff = r.MeanB - r.MeanA
	squares := 0.0
	for _, p := range pairs {
		d := p[1] - p[0] - r.Diff
		squares += d * d
	}
	half := student95(len(pairs)-1) * math.Sqrt(squares/(n-1)/n)
	r.Low, r.High = r.Diff-half, r.Diff+half
	r.Differ = r.Low > 0 || r.High < 0
	return r
}

// student95 is the bound that Student's t of so many degrees of freedom exceeds in 2.5 % of
// cases: exact for the few, and by the expansion of Abramowitz and Stegun 26.7.5 from nine on.
func student95(freedom int) float64 {
	exact := []float64{math.Inf(1), 12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060}
	if freedom < len(exact) {
		return exact[freedom]
	}
	const z = 1.959963985
	n := float64(freedom)
	z3, z5, z7 := z*z*z, z*z*z*z*z, z*z*z*z*z*z*z
	return z + (z3+z)/(4*n) + (5*z5+16*z3+3*z)/(96*n*n) + (3*z7+19*z5+17*z3-15*z)/(384*n*n*n)
}

// Sentence is what the comparison comes to.
func (c *Comparison) Sentence() string {
	var differ []string
	for _, r := range c.Rows {
		if r.Differ {
			more := "more"
			if r.Diff < 0 {
				more = "less"
			}
			differ = append(differ, fmt.Sprintf("%s (%s by %s)", r.Measure, more, inUnit(math.Abs(r.Diff), r.Unit)))
		}
	}
	if len(differ) == 0 {
		return fmt.Sprintf("In %d seeds nothing differs by more than chance.", c.Runs)
	}
	return fmt.Sprintf("In %d seeds %s differs from %s in: %s.", c.Runs, c.B, c.A, strings.Join(differ, ", "))
}

// Spread is how one measure lies over the runs of a sweep.
type Spread struct {
	Measure, Words, Unit string
	Runs                 int
	Least, Mean, Most    float64
	LeastSeed, MostSeed  uint64
}

// Spreads are all measures over the runs of a sweep.
func Spreads(runs []Summary) (out []Spread) {
	for _, name := range measureNames() {
		s := Spread{Measure: name, Words: measures[name].words, Unit: measures[name].unit}
		for _, r := range runs {
			v, ok := r.Measures[name]
			if !ok {
				continue
			}
			if s.Runs == 0 || v < s.Least {
				s.Least, s.LeastSeed = v, r.Seed
			}
			if s.Runs == 0 || v > s.Most {
				s.Most, s.MostSeed = v, r.Seed
			}
			s.Runs++
			s.Mean += v
		}
		if s.Runs > 0 {
			s.Mean /= float64(s.Runs)
			out = append(out, s)
		}
	}
	return slices.Clip(out)
}
