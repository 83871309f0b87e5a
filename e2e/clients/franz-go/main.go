// franz-go behind the driver protocol of ../README.md.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

type command struct {
	Do             string       `json:"do"`
	Topic          string       `json:"topic"`
	Partitions     int32        `json:"partitions"`
	Acks           string       `json:"acks"`
	Idempotent     bool         `json:"idempotent"`
	Compression    string       `json:"compression"`
	Records        [][2]*string `json:"records"`
	From           any          `json:"from"`
	Count          int          `json:"count"`
	MaxPollRecords int          `json:"max_poll_records"`
	ThenProduce    [][2]*string `json:"then_produce"`
}

type membership struct {
	Topic            string `json:"topic"`
	Group            string `json:"group"`
	SessionTimeoutMs int    `json:"session_timeout_ms"`
	MaxPollRecords   int    `json:"max_poll_records"`
	Commit           string `json:"commit"`
	Reset            string `json:"reset"`
	Instance         string `json:"instance"`
	Assignor         string `json:"assignor"`
}

var out sync.Mutex

func print(line any) {
	out.Lock()
	defer out.Unlock()
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "driver serve HOST:PORT | driver member HOST:PORT JSON")
		os.Exit(2)
	}
	if os.Args[1] == "member" {
		if err := member(os.Args[2], os.Args[3]); err != nil {
			print(map[string]any{"error": err.Error()})
			os.Exit(1)
		}
		return
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var c command
		answer, err := map[string]any{}, json.Unmarshal(lines.Bytes(), &c)
		if err == nil {
			answer, err = serve(os.Args[2], c)
		}
		if err != nil {
			answer = map[string]any{"error": err.Error()}
		}
		print(answer)
	}
}

func serve(bootstrap string, c command) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	switch c.Do {
	case "create":
		client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(bootstrap, ",")...))
		if err != nil {
			return nil, err
		}
		defer client.Close()
		_, err = kadm.NewClient(client).CreateTopic(ctx, c.Partitions, -1, nil, c.Topic)
		return map[string]any{}, err
	case "produce":
		return produce(ctx, bootstrap, c, c.Records)
	case "consume":
		return consume(ctx, bootstrap, c)
	}
	return nil, fmt.Errorf("unknown command %q", c.Do)
}

var codecs = map[string]kgo.CompressionCodec{
	"": kgo.NoCompression(), "none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func produce(ctx context.Context, bootstrap string, c command, records [][2]*string) (map[string]any, error) {
	options := []kgo.Opt{kgo.SeedBrokers(strings.Split(bootstrap, ",")...), kgo.ProducerBatchCompression(codecs[c.Compression])}
	switch c.Acks {
	case "0":
		options = append(options, kgo.RequiredAcks(kgo.NoAck()))
	case "1":
		options = append(options, kgo.RequiredAcks(kgo.LeaderAck()))
	default:
		options = append(options, kgo.RequiredAcks(kgo.AllISRAcks()))
	}
	if !c.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	batch := make([]*kgo.Record, len(records))
	for i, r := range records {
		batch[i] = &kgo.Record{Topic: c.Topic, Value: []byte(*r[1])}
		if r[0] != nil {
			batch[i].Key = []byte(*r[0])
		}
	}
	if err := client.ProduceSync(ctx, batch...).FirstErr(); err != nil {
		return nil, err
	}
	placed := make([][2]int64, len(batch))
	for i, r := range batch {
		placed[i] = [2]int64{int64(r.Partition), r.Offset}
		if c.Acks == "0" {
			placed[i][1] = -1
		}
	}
	return map[string]any{"placed": placed}, nil
}

func text(b []byte) any {
	if b == nil {
		return nil
	}
	return string(b)
}

// offsets of every partition for "earliest", "latest" or a time in milliseconds.
func start(ctx context.Context, bootstrap, topic string, from any) (map[int32]kgo.Offset, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(bootstrap, ",")...))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	var listed kadm.ListedOffsets
	switch v := from.(type) {
	case float64:
		listed, err = admin.ListOffsetsAfterMilli(ctx, int64(v), topic)
	case string:
		if v == "latest" {
			listed, err = admin.ListEndOffsets(ctx, topic)
		} else {
			listed, err = admin.ListStartOffsets(ctx, topic)
		}
	default:
		err = fmt.Errorf("from %v", from)
	}
	if err == nil {
		err = listed.Error()
	}
	at := map[int32]kgo.Offset{}
	listed.Each(func(o kadm.ListedOffset) { at[o.Partition] = kgo.NewOffset().At(o.Offset) })
	return at, err
}

func consume(ctx context.Context, bootstrap string, c command) (map[string]any, error) {
	at, err := start(ctx, bootstrap, c.Topic, c.From)
	if err != nil {
		return nil, err
	}
	if c.ThenProduce != nil {
		if _, err := produce(ctx, bootstrap, c, c.ThenProduce); err != nil {
			return nil, err
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(bootstrap, ",")...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{c.Topic: at}))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	records, largest := [][5]any{}, 0
	for len(records) < c.Count {
		got := client.PollRecords(ctx, c.MaxPollRecords)
		if err := got.Err(); err != nil {
			return nil, fmt.Errorf("after %d records: %w", len(records), err)
		}
		largest = max(largest, got.NumRecords())
		got.EachRecord(func(r *kgo.Record) {
			records = append(records, [5]any{r.Partition, r.Offset, r.Timestamp.UnixMilli(), text(r.Key), string(r.Value)})
		})
	}
	return map[string]any{"records": records, "largest_poll": largest}, nil
}

func member(bootstrap, settings string) error {
	var m membership
	if err := json.Unmarshal([]byte(settings), &m); err != nil {
		return err
	}
	event := func(name string) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, p map[string][]int32) {
			partitions := p[m.Topic]
			if partitions == nil {
				partitions = []int32{}
			}
			print(map[string]any{name: partitions})
		}
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(strings.Split(bootstrap, ",")...), kgo.ConsumerGroup(m.Group), kgo.ConsumeTopics(m.Topic),
		kgo.SessionTimeout(time.Duration(m.SessionTimeoutMs) * time.Millisecond), kgo.HeartbeatInterval(time.Second),
		kgo.OnPartitionsAssigned(event("assigned")), kgo.OnPartitionsRevoked(event("revoked")),
		kgo.OnPartitionsLost(event("revoked")), kgo.BlockRebalanceOnPoll(),
	}
	if m.Reset == "latest" {
		options = append(options, kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()))
	} else {
		options = append(options, kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	}
	if m.Instance != "" {
		options = append(options, kgo.InstanceID(m.Instance))
	}
	switch m.Assignor {
	case "range":
		options = append(options, kgo.Balancers(kgo.RangeBalancer()))
	case "cooperative":
		options = append(options, kgo.Balancers(kgo.CooperativeStickyBalancer()))
	}
	if m.Commit == "auto" {
		options = append(options, kgo.AutoCommitMarks(), kgo.AutoCommitInterval(200*time.Millisecond))
	} else {
		options = append(options, kgo.DisableAutoCommit())
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.ReadAll(os.Stdin)
		stop()
	}()
	for ctx.Err() == nil {
		got := client.PollRecords(ctx, m.MaxPollRecords)
		if err := got.Err(); err != nil && !errors.Is(err, context.Canceled) {
			fmt.Fprintln(os.Stderr, "poll:", err)
		}
		if got.NumRecords() > 0 {
			poll := [][4]any{}
			got.EachRecord(func(r *kgo.Record) {
				poll = append(poll, [4]any{r.Partition, r.Offset, text(r.Key), string(r.Value)})
			})
			print(map[string]any{"poll": poll})
			if m.Commit == "auto" {
				client.MarkCommitRecords(got.Records()...)
			} else if err := client.CommitRecords(context.Background(), got.Records()...); err != nil {
				fmt.Fprintln(os.Stderr, "commit refused:", err)
			}
		}
		client.AllowRebalance()
	}
	if m.Commit == "auto" {
		if err := client.CommitMarkedOffsets(context.Background()); err != nil {
			return err
		}
	}
	client.CloseAllowingRebalance()
	print(map[string]any{"closed": true})
	return nil
}
