// A libp2p node that is driven by lines of JSON: the Go counterpart in this plugin's tests.
//
// Requests come on standard input as {"id":1,"cmd":"connect",...}; each gets {"id":1,"result":{...}} or
// {"id":1,"error":"..."} on standard output, between which events stand as {"event":"message",...}. Bytes are
// lower-case hexadecimal. The node listens on the loopback interface alone and ends with its standard input.
package main

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"
)

type request struct {
	ID       int    `json:"id"`
	Cmd      string `json:"cmd"`
	Addr     string `json:"addr"`
	Peer     string `json:"peer"`
	Topic    string `json:"topic"`
	Data     string `json:"data"`
	Protocol string `json:"protocol"`
	Cid      string `json:"cid"`
	Stream   int    `json:"stream"`
	Seconds  int    `json:"seconds"`
	Count    int    `json:"count"`
	Codec    uint64 `json:"codec"`
}

type fields map[string]any

type node struct {
	ctx     context.Context
	host    host.Host
	pubsub  *pubsub.PubSub
	store   blockstore.Blockstore
	swap    *bitswap.Bitswap
	writing sync.Mutex
	out     *json.Encoder

	lock    sync.Mutex
	topics  map[string]*pubsub.Topic
	subs    map[string]*pubsub.Subscription
	streams map[int]network.Stream
	next    int
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	options := []libp2p.Option{
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"),
		libp2p.DisableRelay(),
		libp2p.UserAgent("berty-libp2p-test-peer"),
	}
	for _, argument := range os.Args[1:] {
		switch argument {
		case "--tls-first": // as Kubo dials
			options = append(options, libp2p.Security(libp2ptls.ID, libp2ptls.New), libp2p.Security(noise.ID, noise.New))
		case "--rsa":
			private, _, err := crypto.GenerateRSAKeyPair(2048, rand.Reader)
			if err != nil {
				return err
			}
			options = append(options, libp2p.Identity(private))
		default:
			if !strings.HasPrefix(argument, "--seed=") {
				return fmt.Errorf("unknown argument %q", argument)
			}
			seed, err := hex.DecodeString(strings.TrimPrefix(argument, "--seed="))
			if err != nil || len(seed) != ed25519.SeedSize {
				return errors.New("a seed is 32 bytes in hexadecimal")
			}
			private, err := crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(seed))
			if err != nil {
				return err
			}
			options = append(options, libp2p.Identity(private))
		}
	}
	host, err := libp2p.New(options...)
	if err != nil {
		return err
	}
	defer host.Close()
	// Go drops what its own queues have no room for; here they are large, so that a loss is the other side's.
	router, err := pubsub.NewGossipSub(ctx, host,
		pubsub.WithPeerOutboundQueueSize(4096), pubsub.WithValidateQueueSize(4096))
	if err != nil {
		return err
	}
	n := &node{
		ctx: ctx, host: host, pubsub: router, out: json.NewEncoder(os.Stdout),
		topics: map[string]*pubsub.Topic{}, subs: map[string]*pubsub.Subscription{}, streams: map[int]network.Stream{},
	}
	n.store = blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	n.swap = bitswap.New(ctx, bsnet.NewFromIpfsHost(host), nil, n.store)
	defer n.swap.Close()
	host.Network().Notify(&network.NotifyBundle{
		ConnectedF: func(_ network.Network, c network.Conn) { n.tell("connected", fields{"peer": c.RemotePeer().String()}) },
		DisconnectedF: func(_ network.Network, c network.Conn) {
			n.tell("disconnected", fields{"peer": c.RemotePeer().String()})
		},
	})
	addresses := []string{}
	for _, address := range host.Addrs() {
		addresses = append(addresses, address.String()+"/p2p/"+host.ID().String())
	}
	n.tell("ready", fields{"peer": host.ID().String(), "addrs": addresses})
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 32<<20)
	for lines.Scan() {
		var wanted request
		if err := json.Unmarshal(lines.Bytes(), &wanted); err != nil {
			return err
		}
		go n.answer(wanted)
	}
	return lines.Err()
}

func (n *node) write(value fields) {
	n.writing.Lock()
	defer n.writing.Unlock()
	_ = n.out.Encode(value)
}

func (n *node) tell(event string, value fields) {
	value["event"] = event
	n.write(value)
}

func (n *node) answer(wanted request) {
	seconds := wanted.Seconds
	if seconds == 0 {
		seconds = 10
	}
	ctx, cancel := context.WithTimeout(n.ctx, time.Duration(seconds)*time.Second)
	defer cancel()
	result, err := n.do(ctx, wanted)
	if err != nil {
		n.write(fields{"id": wanted.ID, "error": err.Error()})
		return
	}
	if result == nil {
		result = fields{}
	}
	n.write(fields{"id": wanted.ID, "result": result})
}

func (n *node) do(ctx context.Context, wanted request) (fields, error) {
	switch wanted.Cmd {
	case "connect":
		return n.connect(ctx, wanted)
	case "disconnect":
		return n.withPeer(wanted, func(id peer.ID) (fields, error) { return nil, n.host.Network().ClosePeer(id) })
	case "about":
		return n.withPeer(wanted, n.about)
	case "ping":
		return n.withPeer(wanted, func(id peer.ID) (fields, error) { return n.ping(ctx, id) })
	case "subscribe":
		return nil, n.subscribe(wanted.Topic)
	case "unsubscribe":
		return nil, n.unsubscribe(wanted.Topic)
	case "publish":
		return nil, n.publish(ctx, wanted)
	case "topic_peers":
		return n.topicPeers(wanted.Topic)
	case "put":
		return n.put(ctx, wanted)
	case "get":
		return n.get(ctx, wanted)
	case "handle":
		n.host.SetStreamHandler(protocol.ID(wanted.Protocol), func(s network.Stream) { n.take(s, "stream") })
		return nil, nil
	case "open":
		return n.withPeer(wanted, func(id peer.ID) (fields, error) { return n.open(ctx, id, wanted.Protocol) })
	default:
		return n.onStream(wanted)
	}
}

func (n *node) withPeer(wanted request, then func(peer.ID) (fields, error)) (fields, error) {
	id, err := peer.Decode(wanted.Peer)
	if err != nil {
		return nil, err
	}
	return then(id)
}

func (n *node) connect(ctx context.Context, wanted request) (fields, error) {
	address, err := multiaddr.NewMultiaddr(wanted.Addr)
	if err != nil {
		return nil, err
	}
	info, err := peer.AddrInfoFromP2pAddr(address)
	if err != nil {
		return nil, err
	}
	return nil, n.host.Connect(ctx, *info)
}

func (n *node) about(id peer.ID) (fields, error) {
	protocols, err := n.host.Peerstore().GetProtocols(id)
	if err != nil {
		return nil, err
	}
	agent, _ := n.host.Peerstore().Get(id, "AgentVersion")
	addresses := []string{}
	for _, address := range n.host.Peerstore().Addrs(id) {
		addresses = append(addresses, address.String())
	}
	return fields{"protocols": protocols, "agent": agent, "addrs": addresses,
		"connections": len(n.host.Network().ConnsToPeer(id))}, nil
}

func (n *node) ping(ctx context.Context, id peer.ID) (fields, error) {
	result := <-ping.Ping(ctx, n.host, id)
	return fields{"seconds": result.RTT.Seconds()}, result.Error
}

func (n *node) topic(name string) (*pubsub.Topic, error) {
	if topic, ok := n.topics[name]; ok {
		return topic, nil
	}
	topic, err := n.pubsub.Join(name)
	if err != nil {
		return nil, err
	}
	n.topics[name] = topic
	events, err := topic.EventHandler()
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			event, err := events.NextPeerEvent(n.ctx)
			if err != nil {
				return
			}
			kind := "topic_join"
			if event.Type == pubsub.PeerLeave {
				kind = "topic_leave"
			}
			n.tell(kind, fields{"topic": name, "peer": event.Peer.String()})
		}
	}()
	return topic, nil
}

func (n *node) subscribe(name string) error {
	n.lock.Lock()
	defer n.lock.Unlock()
	topic, err := n.topic(name)
	if err != nil {
		return err
	}
	sub, err := topic.Subscribe()
	if err != nil {
		return err
	}
	n.subs[name] = sub
	go func() {
		for {
			message, err := sub.Next(n.ctx)
			if err != nil {
				return
			}
			if message.GetFrom() != n.host.ID() {
				n.tell("message", fields{"topic": name, "peer": message.GetFrom().String(),
					"data": hex.EncodeToString(message.Data)})
			}
		}
	}()
	return nil
}

func (n *node) unsubscribe(name string) error {
	n.lock.Lock()
	defer n.lock.Unlock()
	if sub, ok := n.subs[name]; ok {
		sub.Cancel()
		delete(n.subs, name)
	}
	return nil
}

// publish sends count messages: the data, and where there are several a number of four bytes behind it.
func (n *node) publish(ctx context.Context, wanted request) error {
	data, err := hex.DecodeString(wanted.Data)
	if err != nil {
		return err
	}
	n.lock.Lock()
	topic, err := n.topic(wanted.Topic)
	n.lock.Unlock()
	if err != nil {
		return err
	}
	if wanted.Count == 0 {
		return topic.Publish(ctx, data)
	}
	for i := range wanted.Count {
		numbered := append(append([]byte{}, data...), byte(i>>24), byte(i>>16), byte(i>>8), byte(i))
		if err := topic.Publish(ctx, numbered); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) topicPeers(name string) (fields, error) {
	peers := []string{}
	for _, id := range n.pubsub.ListPeers(name) {
		peers = append(peers, id.String())
	}
	return fields{"peers": peers}, nil
}

func (n *node) put(ctx context.Context, wanted request) (fields, error) {
	data, err := hex.DecodeString(wanted.Data)
	if err != nil {
		return nil, err
	}
	digest, err := multihash.Sum(data, multihash.SHA2_256, -1)
	if err != nil {
		return nil, err
	}
	codec := wanted.Codec
	if codec == 0 {
		codec = cid.Raw
	}
	block, err := blocks.NewBlockWithCid(data, cid.NewCidV1(codec, digest))
	if err != nil {
		return nil, err
	}
	if err := n.store.Put(ctx, block); err != nil {
		return nil, err
	}
	return fields{"cid": block.Cid().String()}, n.swap.NotifyNewBlocks(ctx, block)
}

func (n *node) get(ctx context.Context, wanted request) (fields, error) {
	name, err := cid.Decode(wanted.Cid)
	if err != nil {
		return nil, err
	}
	block, err := n.swap.GetBlock(ctx, name)
	if err != nil {
		return nil, err
	}
	return fields{"data": hex.EncodeToString(block.RawData())}, nil
}

func (n *node) open(ctx context.Context, id peer.ID, name string) (fields, error) {
	stream, err := n.host.NewStream(ctx, id, protocol.ID(name))
	if err != nil {
		return nil, err
	}
	return fields{"stream": n.take(stream, "")}, nil
}

// take keeps a stream under a number and tells what comes on it.
func (n *node) take(stream network.Stream, event string) int {
	n.lock.Lock()
	n.next++
	number := n.next
	n.streams[number] = stream
	n.lock.Unlock()
	if event != "" {
		n.tell(event, fields{"stream": number, "peer": stream.Conn().RemotePeer().String(), "protocol": stream.Protocol()})
	}
	go func() {
		buffer := make([]byte, 64<<10)
		for {
			count, err := stream.Read(buffer)
			if count > 0 {
				n.tell("data", fields{"stream": number, "data": hex.EncodeToString(buffer[:count])})
			}
			if err != nil {
				n.tell("end", fields{"stream": number, "reset": !errors.Is(err, io.EOF)})
				return
			}
		}
	}()
	return number
}

func (n *node) onStream(wanted request) (fields, error) {
	n.lock.Lock()
	stream, ok := n.streams[wanted.Stream]
	n.lock.Unlock()
	if !ok {
		return nil, fmt.Errorf("no command %q, or no stream %d", wanted.Cmd, wanted.Stream)
	}
	switch wanted.Cmd {
	case "write":
		data, err := hex.DecodeString(wanted.Data)
		if err != nil {
			return nil, err
		}
		_, err = stream.Write(data)
		return nil, err
	case "finish":
		return nil, stream.CloseWrite()
	case "reset":
		return nil, stream.Reset()
	default:
		return nil, fmt.Errorf("no command %q", wanted.Cmd)
	}
}
