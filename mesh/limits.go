package mesh

import (
	"time"

	"tocsin/crypto/identity"
)

// Every bound of this package stands in this file. What a stranger can make us
// hold is bounded by the resource manager and the handshake limits; what an
// admitted neighbour can make us hold by the gossip and synchronisation limits.

// Handshake.
const (
	// MaxChain is the longest admission chain accepted, in bytes (3 KiB; 6 KiB
	// would cost QUIC another round trip).
	MaxChain = identity.MaxAdmission
	// MaxTicket is the longest ticket accepted, in bytes.
	MaxTicket = identity.MaxTicket
	// admissionTimeout bounds one whole handshake: Noise or TLS, chains, tickets. It is
	// for the worst link that is to work: 64 kb/s, 10 % loss, 800 ms there and back.
	admissionTimeout = 10 * time.Second
	// maxPendingQUIC is how many inbound QUIC connections may stand between TLS
	// and ticket at once. More are closed at once: their diallers come again.
	maxPendingQUIC = 64
	// maxAwaited bounds the connections of one peer that are admitted and that libp2p has
	// not taken over yet.
	maxAwaited = 64
	// recheckInterval is how often the chain and ticket of every open connection
	// are verified again, so that an expiry closes it at most this much late.
	recheckInterval = time.Minute
)

// Connections.
const (
	// connsLow and connsHigh are the watermarks of the connection manager: above
	// connsHigh it closes the least useful connections down to connsLow.
	connsLow  = 192
	connsHigh = 256
	// maxConns is where the resource manager refuses, in either direction.
	maxConns = 768
	// maxTransient bounds connections whose handshake is not finished. It is twice
	// connsPerIPv4, so that one address that only knocks cannot shut out the rest.
	maxTransient = 512
	// connsPerIPv4 and connsPerIPv6 bound connections of one IPv4 address or one
	// IPv6 /56. libp2p's default of 8 cuts off a hospital behind one NAT.
	connsPerIPv4 = 256
	connsPerIPv6 = 256
	// connRate and connBurst bound new connections of one such address, a second
	// and in a burst; a ward that comes back from a power cut is a burst.
	connRate  = 16
	connBurst = 256
	// relayConnsLow, relayConnsHigh and relayMaxConns are the same for a device that
	// carries the connections of others (Config.Relay): a whole trust may depend on it.
	relayConnsLow  = 900
	relayConnsHigh = 1024
	relayMaxConns  = 2048
	// keepAlive is how often a stream connection is probed, keepAliveAnswer how long
	// the answer may take: 64 kb/s with a full queue and 800 ms both ways needs more
	// than libp2p's 10 s. Probing twice as often was a third of what an idle neighbour
	// cost; a network that changes is noticed by itself, within seconds.
	keepAlive       = 30 * time.Second
	keepAliveAnswer = 15 * time.Second
	// rateMemory is how long an address that has gone quiet is still counted.
	rateMemory = time.Minute
)

// Discovery.
const (
	// maxContacts bounds the address book; static peers are never pushed out.
	maxContacts = 1024
	// maxAddrBytes bounds one address in binary form; a circuit through a relay takes
	// about 60.
	maxAddrBytes = 256
	// maxAddrsPerContact bounds the addresses kept of one peer, and those in a record:
	// several interfaces, two or three transports, IPv4 and IPv6, and relays.
	maxAddrsPerContact = 16
	// maxCircuitAddrs are those of them that are through relays, maxAddrsPerRelay
	// through one.
	maxCircuitAddrs  = 6
	maxAddrsPerRelay = 2
	// maxRemembered bounds the peers handed to Config.Remember.
	maxRemembered = 256
	// maxDials bounds dials in flight.
	maxDials = 32
	// dialTimeout bounds one dial with its handshake, over all addresses.
	dialTimeout = 15 * time.Second
	// redialMin and redialMax bound the wait between two dials of one peer; it
	// doubles on each failure. redialMax is short on purpose: when a way opens again
	// the mesh must re-form within half a minute, the dials before it included.
	// redialSpacing stretches it where many contacts are away, so that they are dialled
	// one after the other: 64 contacts are dialled every 10 s, 1,024 every 2.5 minutes.
	redialMin     = 500 * time.Millisecond
	redialMax     = 10 * time.Second
	redialSpacing = 150 * time.Millisecond
	// ticketPause is the wait for a ticket to show, between two looks.
	ticketPause = time.Second
	// wantPeers is how many neighbours are looked for, if Config.Neighbours says nothing else;
	// sparePeers are kept beyond that. MaxNeighbours bounds what it may say: the connection
	// manager would close more. explorePause is the wait between two dials of somebody at random beyond it, up to
	// maxExplorePauses times as long where more contacts are known than neighbours are looked for.
	// maxShed is how many of those beyond want and spare are let go at once.
	wantPeers        = 32
	sparePeers       = 16
	MaxNeighbours    = 2 * connsLow / 3
	explorePause     = 30 * time.Second
	maxExplorePauses = 10
	maxShed          = 3
	// staleAfter is how old a connection must be for a newer one of the same peer to
	// say that it is dead: two that open at once are two dials that crossed.
	staleAfter = 5 * time.Second
	// upgradeMin and upgradeMax bound the wait between two looks for a way past a
	// relay; it doubles.
	upgradeMin = 10 * time.Second
	upgradeMax = 5 * time.Minute
	// lookInterval is how often the network interfaces are looked at.
	lookInterval = 5 * time.Second
	// multicastLonely and multicastAgain are after how long multicast is begun anew:
	// where there is no neighbour, and else. libp2p tells of each device once only.
	multicastLonely = 20 * time.Second
	multicastAgain  = 5 * time.Minute
	// exchangeInterval is the wait between two exchanges with one neighbour, on a thin
	// link thriftRounds times that; exchangeAgain is how many records are asked for then.
	// exchangeLonely where there is one neighbour only; exchangeSoon after meeting, or
	// when our own addresses have changed; exchangeRetry after one that was cut off.
	exchangeInterval = 30 * time.Minute
	exchangeAgain    = 8
	exchangeLonely   = 2 * time.Minute
	exchangeSoon     = 300 * time.Millisecond
	exchangeRetry    = 4 * time.Second
	exchangeTimeout  = 20 * time.Second
	// A neighbour is answered exchangeBurst times at once and then once in
	// exchangePause, maxExchanges of them at the same time.
	exchangeBurst = 8
	exchangePause = 15 * time.Second
	maxExchanges  = 8
	// maxExchanged bounds the records, maxAnswer the bytes of an answer.
	maxExchanged = 32
	maxAnswer    = 48 << 10
	// maxOpened bounds the records that are known to be verified, about 300 bytes each.
	maxOpened = maxContacts
	// maxIntroduced bounds the peers that one neighbour has named and that we have not
	// met.
	maxIntroduced = 64
	// recordLife is how long a record is handed on, recordAhead how far from the future
	// it may be (clocks are set wrong), recordRefresh how often our own is looked at.
	recordLife    = 7 * 24 * time.Hour
	recordAhead   = 48 * time.Hour
	recordRefresh = 10 * time.Minute
	// directoryFrom is from how many known devices on the directory is used by itself.
	directoryFrom    = 100
	directoryPause   = time.Minute
	directoryRefresh = 20 * time.Minute
	directoryQueries = 3
	lookUpTimeout    = 30 * time.Second
	// maxRumours bounds the addresses of one peer that only multicast or the directory
	// tells of; maxHearsay the peers that either has told of and that were never met;
	// maxStrangeDials the dials in flight to peers that were never met. longGone is after how
	// many failures in a row a peer that was met gives way to one that was only named.
	maxRumours      = 8
	maxHearsay      = 128
	maxStrangeDials = maxDials / 2
	longGone        = 64
	// maxStrangerFailures is after how many failures in a row a peer that was
	// only ever named by others is forgotten.
	maxStrangerFailures = 8
)

// Relaying.
const (
	// maxCarried bounds the reservations of others at a relay.
	maxCarried = 1024
	// maxCircuitsPerPeer bounds the connections that are carried for one device.
	maxCircuitsPerPeer = 128
	// carryBuffer is the buffer of one carried direction, in bytes; carryMemory
	// bounds all that relaying may take.
	carryBuffer = 8 << 10
	carryMemory = 128 << 20
	// reservationLife is what a relay grants. Clocks may be days apart.
	reservationLife = 31 * 24 * time.Hour
	// maxReservations is at how many relays we reserve, those of the configuration
	// beside; reserveRenewal how often that is renewed.
	maxReservations = 3
	reserveSoon     = 200 * time.Millisecond
	reserveMin      = 2 * time.Second
	reserveMax      = 2 * time.Minute
	reserveRenewal  = 20 * time.Minute
)

// Gossip.
const (
	// MaxFrame is the longest frame that may be published or received, in bytes.
	// The longest entry (60 KiB body, full header and signature) takes 62,083.
	MaxFrame = 64 << 10
	// maxRPC bounds one gossipsub RPC: a frame, its topic, and control messages.
	maxRPC = 256 << 10
	// maxControl bounds the control part of an RPC: 5,000 message ids of 32 bytes
	// and their framing.
	maxControl = 192 << 10
	// maxSubscriptions bounds subscriptions in one RPC. There is one topic.
	maxSubscriptions = 4
	// outboundQueue is the number of RPCs queued for one neighbour; 32, the
	// default, dropped 14,911 at 500 messages a second, 1,024 none.
	outboundQueue = 1024
	// validateQueue, validateThrottle and validateConcurrency bound frames that
	// wait for or are in the Receiver. Beyond them gossip drops (counted) and
	// synchronisation repairs. They cap memory at 512 frames of 64 KiB, 32 MiB.
	validateQueue       = 512
	validateThrottle    = 512
	validateConcurrency = 512
	// maxOutbox bounds the bytes that wait to be written to one neighbour: at
	// 64 kb/s two minutes. Where more than maxOutboxes wait for all of them together, as
	// when many do not read, each may have minOutbox only.
	maxOutbox   = 1 << 20
	maxOutboxes = 16 << 20
	minOutbox   = 128 << 10
	// writeBatch is about how many bytes of waiting frames are written at once.
	writeBatch = 16 << 10
	// windowMin and windowMax bound what is under way to one neighbour and not yet
	// acknowledged, in bytes and for each of two lanes: at 64 kb/s a second. windowDelay is
	// how long the queue on the way may take, windowSamples after how many
	// acknowledgements it is learnt again what an empty way takes.
	windowMin     = 8 << 10
	windowMax     = 1 << 20
	windowDelay   = 100 * time.Millisecond
	windowSamples = 64
	// windowStall is from when on the wait for an acknowledgement says that the way was
	// shut and not how long it is; windowIdle after how long without anything under way the
	// window is small again, for the way may be another one by then.
	windowStall = 5 * time.Second
	// windowSilence is how long nothing may be acknowledged, beyond twice what an empty way
	// takes, until the window is the smallest.
	windowSilence = 250 * time.Millisecond
	windowIdle    = 2 * time.Second
	// ackEvery is after how many bytes of gossip at the latest the reader acknowledges
	// them. It is well below windowMin, so that a window never stays closed for what the
	// reader keeps back. After ackTimeout without any, where frames wait, the stream is given up.
	ackEvery   = 4 << 10
	ackTimeout = 60 * time.Second
	// passedOver is how many bytes of worse frames of one author may wait for a neighbour
	// when an urgent one of the same author comes: beyond that they are left to
	// synchronisation.
	passedOver = 2 << 10
	// passingTime is how long after an urgent frame what its author had said before is left to
	// synchronisation, beyond that: longer than gossipsub remembers frames for those who
	// ask. maxPassings bounds the authors of which that is remembered, in each of two
	// generations, recentKept the urgent frames of which each writer knows that it has them.
	passingTime = time.Minute
	maxPassings = 512
	recentKept  = 64
	// pooledRPC is the size up to which copies of RPCs are used again, in bytes.
	pooledRPC = 2 << 10
	// readBuffer is what is read ahead of one neighbour, in bytes.
	readBuffer = 4 << 10
	// holdTime is how long routine frames that are handed on gather before they are
	// written together; the first after a pause is not held. A neighbour that sends the same
	// frame meanwhile is not sent it.
	holdTime = 10 * time.Millisecond
	// enoughGrafts is how many grafted neighbours our own routine frames need, so that
	// the others are not sent them too.
	enoughGrafts = 3
	// holdersKept and maxHolders bound the memory of who has which frame: frames
	// of one of two generations, and neighbours of a frame.
	holdersKept = 2048
	maxHolders  = 32
	// maxVerifying bounds the frames of one neighbour that wait for or are in the
	// Receiver, maxRoutineOfOne those of them from routine on, maxRoutine those of all
	// neighbours: the rest of each, and of validateThrottle, is kept for what is urgent.
	maxVerifying    = 320
	maxRoutineOfOne = 256
	maxRoutine      = 384
	// maxAuthors bounds the authors whose frames are counted.
	maxAuthors = 4096
	// throttledPull is how long after a frame was turned away for a budget its
	// neighbour is pulled from; the frame was not looked at.
	throttledPull = 3 * time.Second
	// turnedKept bounds the memory of frames that were turned away, in each of two
	// generations, turnedPulls the further neighbours that are pulled from for one of them.
	turnedKept  = 1024
	turnedPulls = 4
	// maxMarked bounds the peers against which something is held, and those that
	// are cut off; maxBlameWords the words of one; maxCuts the list of cuts.
	maxMarked     = 1024
	maxBlameWords = 16
	maxCuts       = 64
	// banMin is how long a neighbour is cut off at first; it doubles up to banMax
	// for each further time within banMemory. Short on purpose: it may be the only
	// way to somebody.
	banMin    = 30 * time.Second
	banMax    = 10 * time.Minute
	banMemory = time.Hour
	// settleTime is how young a connection may be while gossipsub on both sides is
	// not certain to know each other. Frames published meanwhile are followed by a nudge.
	settleTime = 5 * time.Second
	// announceWait is how long after meeting a neighbour the routine frames that it
	// announces are left to synchronisation: longer than gossipsub announces a frame.
	announceWait = 10 * time.Second
	// scoresEvery is how old the scores of [Mesh.Peers] may be.
	scoresEvery = 5 * time.Second
	// nudgeDelay is the wait before a nudge, in which further reasons coalesce;
	// on a thin link thriftNudgeDelay.
	nudgeDelay       = time.Second
	thriftNudgeDelay = 10 * time.Second
	// maxNudges bounds our nudges at once, one a neighbour; maxNudgeTries how often one
	// that fails is tried in a row. The wait doubles.
	maxNudges     = 32
	maxNudgeTries = 5
	// thriftPeers is how many neighbours are sent our own routine frames on a thin link;
	// they hand them on. thriftRounds stretches the wait between two pulls there.
	thriftPeers  = 2
	thriftRounds = 4
	// pullsARound is up to how many neighbours are each pulled from once in
	// Config.SyncInterval. Among more the wait grows with their number, at most maxRounds times:
	// whatever one of them has, the next has too, and somebody is still pulled from every few seconds.
	pullsARound = 8
	maxRounds   = 4
	// After quietPulls pulls in a row in which nothing but the question and its
	// answer passed (quietFrames) the wait is quietRounds times as long, until
	// there is something again: who has news tells its neighbours.
	quietFrames = 2
	quietPulls  = 8
	quietRounds = 3
)

// Synchronisation.
const (
	// MaxPayload is the longest payload of a frame on a synchronisation stream, in
	// bytes. It holds one frame of one entry (62,083) with 3,453 to spare.
	MaxPayload = 64 << 10
	// maxSessionBytes and maxSessionFrames bound one session in each direction.
	// A session that ends here is resumed by the next one.
	maxSessionBytes  = 64 << 20
	maxSessionFrames = 1 << 17
	// sessionStart is the buffer of what a session says at first, sessionWrite that of one
	// that says more, sessionRead that of what it hears, in bytes.
	sessionStart = 1 << 10
	sessionWrite = 32 << 10
	sessionRead  = 4 << 10
	// frameTimeout bounds opening a session, sending one frame, and the end.
	frameTimeout = 30 * time.Second
	// progressTick is how often a session is looked at, on the device's clock: one
	// in which no whole frame has passed since the look before the last is ended,
	// and one of ours makes room after a tick when other neighbours wait. Both are
	// resumed, so that a slow neighbour delays the others by a tick at most.
	progressTick = 15 * time.Second
	// sessionTimeout bounds a session.
	sessionTimeout = 10 * time.Minute
	// maxStrangers bounds the pulls that go before all others because nothing of the
	// neighbour is held yet: whoever has devices to spare could else have every slot.
	maxStrangers = maxPulls / 2
	// maxPulls bounds our own pulls at once; maxServes and maxServesPerPeer
	// the sessions that we serve at once.
	maxPulls         = 4
	maxServes        = 32
	maxServesPerPeer = 2
	// defaultSyncInterval is the wait between two pulls from one neighbour when
	// nothing else asks for one; jitter of a quarter either way is added.
	defaultSyncInterval = 30 * time.Second
	// syncRetryMin is the first wait after a failed pull; it doubles up to the
	// interval.
	syncRetryMin = time.Second
	// vainPulls is after how many pulls in a row that brought nothing of what the neighbour
	// holds its word that we are behind waits: for syncRetryMin first, doubling up to the
	// interval.
	vainPulls = 3
	// syncCoalesce is the least time between two pulls from one neighbour, so
	// that many reasons at once make one pull.
	syncCoalesce = 100 * time.Millisecond
)

// Attachments (blobs.go).
const (
	// MaxBlob is the longest chunk in bytes: 60 KiB and the tag of its seal.
	MaxBlob = 60<<10 + 16
	// maxBlobAsk bounds the names in one ask, maxBlobRequest the body of a request.
	maxBlobAsk     = 256
	maxBlobRequest = 1 + 2 + 32*maxBlobAsk
	// maxBlobWants bounds what is wanted at once: about 1 GB of chunks.
	maxBlobWants = 16384
	// maxBlobClaims is from how many holders one chunk is fetched at once, when
	// nothing else is left to fetch.
	maxBlobClaims = 2
	// maxBlobCarriers is how many neighbours are asked at once to fetch a chunk for us.
	maxBlobCarriers = 2
	// maxBlobHops bounds how many devices in a row fetch a chunk for another one.
	maxBlobHops = 6
	// maxBlobParts bounds chunks that are kept in part between sessions, 4 MB in all.
	maxBlobParts = 64
	// maxBlobActive bounds the chunks that one session fetches at once.
	maxBlobActive = 10
	// maxBlobFetches bounds our own sessions at once; maxBlobServes and
	// maxBlobServesPerPeer those that we serve.
	maxBlobFetches       = 6
	maxBlobServes        = 32
	maxBlobServesPerPeer = 2
	// blobMinWindow, blobMaxWindow and blobBusyWindow bound the bytes that are asked for and not
	// yet here: on a bad link, on a good one, and while synchronisation is at work.
	blobMinWindow  = 4 << 10
	blobMaxWindow  = 512 << 10
	blobBusyWindow = 16 << 10
	// blobDelay is how long answers may wait for one another on a link.
	blobDelay = 300 * time.Millisecond
	// blobStall ends a session of ours in which nothing has arrived for so long;
	// blobIdle one of another that asks for nothing.
	blobStall = 10 * time.Second
	blobIdle  = 30 * time.Second
	// blobServeTime bounds a session that is served: its client begins another.
	blobServeTime = 2 * time.Minute
	// blobRetryMin and blobRetryMax bound the wait until a neighbour is asked again for what it
	// lacked, or after a session that failed; it doubles.
	blobRetryMin = 500 * time.Millisecond
	blobRetryMax = 5 * time.Minute
	// blobBan is how long a neighbour that sent wrong bytes is asked for nothing.
	blobBan = time.Hour
	// blobTellDelay gathers what has come for a neighbour into one notice.
	blobTellDelay = 200 * time.Millisecond
)
