package message

// The reports by which a scene and a patient are handed from one clinician to the next. Their headings are those of the
// forms in use: JESIP's M/ETHANE, the NHS's SBAR, the ambulance services' ATMIST, JESIP's IIMARCH.

// Declared is whether a report declares a major incident.
type Declared string

// The answers to "major incident declared?".
const (
	DeclaredYes     Declared = "declared"
	DeclaredStandby Declared = "standby"
	DeclaredNo      Declared = "no"
)

// METHANE is a M/ETHANE report from a scene. A later report replaces an earlier one visibly.
type METHANE struct {
	private
	Major      Declared // major incident declared?
	Location   string   // exact location
	Type       string   // of incident
	Hazards    string   // present or suspected
	Access     string   // routes that are safe to use
	Casualties string   // number, type, severity
	Emergency  string   // services present, and those required
	Supersedes EntryID  // the report that this one brings up to date; zero for the first
}

func (m *METHANE) Kind() Kind { return KindMETHANE }
func (m *METHANE) Summary() string {
	head := map[Declared]string{DeclaredYes: "MAJOR INCIDENT DECLARED", DeclaredStandby: "Major incident standby"}[m.Major]
	return "METHANE: " + joined(" · ", head, m.Location, m.Type, m.Casualties)
}
func (m *METHANE) Fields() []Field {
	return []Field{
		{Number: 0, Name: "major", Label: "Major incident declared?", Required: true, value: choice(&m.Major,
			Choice{string(DeclaredYes), "Yes, declared"}, Choice{string(DeclaredStandby), "Standby"}, Choice{string(DeclaredNo), "No"})},
		{Number: 1, Name: "location", Label: "Exact location", Required: true, Help: "Where exactly; a grid reference or what3words helps.", value: prose(&m.Location, MaxProse)},
		{Number: 2, Name: "type", Label: "Type of incident", Required: true, value: prose(&m.Type, MaxProse)},
		{Number: 3, Name: "hazards", Label: "Hazards", Required: true, Help: "Present and suspected; write “none known” if there are none.", value: prose(&m.Hazards, MaxProse)},
		{Number: 4, Name: "access", Label: "Access", Required: true, Help: "Routes in and out that are safe.", value: prose(&m.Access, MaxProse)},
		{Number: 5, Name: "casualties", Label: "Number of casualties", Required: true, Help: "Number, type and severity.", value: prose(&m.Casualties, MaxProse)},
		{Number: 6, Name: "emergency-services", Label: "Emergency services", Required: true, Help: "Present and required.", value: prose(&m.Emergency, MaxProse)},
		{Number: 7, Name: "supersedes", Label: "Brings up to date", value: entry(&m.Supersedes)},
	}
}

// SBAR hands a patient or a problem over.
type SBAR struct {
	private
	Situation, Background, Assessment, Recommendation string
}

func (s *SBAR) Kind() Kind { return KindSBAR }
func (s *SBAR) Summary() string {
	return "SBAR: " + joined(" · ", s.Situation, s.Recommendation)
}
func (s *SBAR) Fields() []Field {
	return []Field{
		{Number: 0, Name: "situation", Label: "Situation", Required: true, Help: "What is happening now; initials and bed rather than a name.", value: prose(&s.Situation, MaxProse)},
		{Number: 1, Name: "background", Label: "Background", Required: true, value: prose(&s.Background, MaxProse)},
		{Number: 2, Name: "assessment", Label: "Assessment", Required: true, value: prose(&s.Assessment, MaxProse)},
		{Number: 3, Name: "recommendation", Label: "Recommendation", Required: true, value: prose(&s.Recommendation, MaxProse)},
	}
}

// Sex is what is known of a patient's sex at the scene.
type Sex string

// The values of Sex.
const (
	SexFemale  Sex = "female"
	SexMale    Sex = "male"
	SexOther   Sex = "other"
	SexUnknown Sex = "unknown"
)

func sexChoices() []Choice {
	return []Choice{{string(SexFemale), "Female"}, {string(SexMale), "Male"}, {string(SexOther), "Other"}, {string(SexUnknown), "Not known"}}
}

// ATMIST announces a patient who is being brought.
type ATMIST struct {
	private
	Age          string // "34", "about 60", "6 weeks"
	Sex          Sex
	Time         string // of incident, and onset of symptoms
	Mechanism    string
	Injuries     string
	Signs        string
	Treatment    string
	ETA          *int   // minutes from when it was sent
	Requirements string // what is to be ready
	CallSign     string // of the crew
	Tag          string // the casualty's tag, if it has one
}

func (a *ATMIST) Kind() Kind { return KindATMIST }
func (a *ATMIST) Summary() string {
	eta := ""
	if a.ETA != nil {
		eta = "ETA " + number(&a.ETA, 0, MaxETA, "min").Human()
	}
	return "ATMIST: " + joined(" · ", eta, joined(" ", a.Age, label(sexChoices(), string(a.Sex))), a.Mechanism, a.Injuries)
}

// MaxETA is the most minutes that an ETA may be away, two days.
const MaxETA = 2880

func (a *ATMIST) Fields() []Field {
	return []Field{
		{Number: 0, Name: "age", Label: "Age", Required: true, Help: "“about 40” will do.", value: line(&a.Age, MaxLine)},
		{Number: 1, Name: "sex", Label: "Sex", Required: true, value: choice(&a.Sex, sexChoices()...)},
		{Number: 2, Name: "time", Label: "Time of incident", Required: true, value: line(&a.Time, MaxLine)},
		{Number: 3, Name: "mechanism", Label: "Mechanism of injury", Required: true, value: prose(&a.Mechanism, MaxProse)},
		{Number: 4, Name: "injuries", Label: "Injuries", Required: true, value: prose(&a.Injuries, MaxProse)},
		{Number: 5, Name: "signs", Label: "Signs", Required: true, value: prose(&a.Signs, MaxProse)},
		{Number: 6, Name: "treatment", Label: "Treatment given", Required: true, value: prose(&a.Treatment, MaxProse)},
		{Number: 7, Name: "eta", Label: "ETA in minutes", value: number(&a.ETA, 0, MaxETA, "min")},
		{Number: 8, Name: "requirements", Label: "Requirements", value: prose(&a.Requirements, MaxProse)},
		{Number: 9, Name: "call-sign", Label: "Call sign", value: line(&a.CallSign, MaxLine)},
		{Number: 10, Name: "tag", Label: "Casualty tag", value: tag(&a.Tag)},
	}
}

// Briefing is an IIMARCH briefing.
type Briefing struct {
	private
	Information, Intent, Method, Administration, Risk, Communications, Humanitarian string
}

func (b *Briefing) Kind() Kind { return KindBriefing }
func (b *Briefing) Summary() string {
	return "IIMARCH: " + joined(" · ", b.Intent, b.Information)
}
func (b *Briefing) Fields() []Field {
	return []Field{
		{Number: 0, Name: "information", Label: "Information", Required: true, Help: "What, where, when, how, so what.", value: prose(&b.Information, MaxProse)},
		{Number: 1, Name: "intent", Label: "Intent", Required: true, Help: "Why are we here, what are we trying to achieve.", value: prose(&b.Intent, MaxProse)},
		{Number: 2, Name: "method", Label: "Method", Required: true, Help: "How it will be done, command structure.", value: prose(&b.Method, MaxProse)},
		{Number: 3, Name: "administration", Label: "Administration", Required: true, Help: "Media, dress, decision logs, welfare, food, logistics.", value: prose(&b.Administration, MaxProse)},
		{Number: 4, Name: "risk", Label: "Risk assessment", Required: true, value: prose(&b.Risk, MaxProse)},
		{Number: 5, Name: "communications", Label: "Communications", Required: true, value: prose(&b.Communications, MaxProse)},
		{Number: 6, Name: "humanitarian", Label: "Humanitarian issues", Required: true, value: prose(&b.Humanitarian, MaxProse)},
	}
}
