// The kernel's side of the kernel engine: copies the Python stack of a thread in the interrupt, the page fault or the
// context switch that a perf event or a tracepoint reports, while the thread is on its CPU and cannot run. User space decodes the copies (mod.rs,
// copy_plan.rs).
//
// The program knows no version of CPython: where the fields are comes from user space, in `processes`. All that
// is read is the target's memory, so each value is hostile: lengths and loops are bounded here, and what a
// pointer leads to is read by a helper that fails instead of faulting.
//
// Compiled by `clang -O2 -target bpf -mcpu=v2 -c sampler.bpf.c -o sampler.bpf.o` (Debian's clang-14); a test
// compares the committed object with what that makes. Needs no headers.

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))

// Numbers from enum bpf_func_id in Linux's include/uapi/linux/bpf.h, which never change.
static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static u64 (*ktime_get_ns)(void) = (void *)5;
static u32 (*prandom)(void) = (void *)7;
static u32 (*smp_processor_id)(void) = (void *)8;
static long (*tail_call)(void *context, void *programs, u32 index) = (void *)12;
static u64 (*current_pid_tgid)(void) = (void *)14;
static u64 (*current_task)(void) = (void *)35;
static long (*probe_read_user)(void *to, u32 size, const void *from) = (void *)112;
static long (*ns_current_pid_tgid)(u64 dev, u64 ino, void *ids, u32 size) = (void *)120;
static long (*ringbuf_output)(void *ring, void *data, u64 size, u64 flags) = (void *)130;
static u64 (*ringbuf_query)(void *ring, u64 flags) = (void *)134;

// Of enum bpf_map_type.
#define MAP_HASH 1
#define MAP_ARRAY 2
#define MAP_PROGRAMS 3
#define MAP_LRU_HASH 9
#define MAP_RINGBUF 27

struct map_definition {
	u32 type;
	u32 key_size;
	u32 value_size;
	u32 max_entries;
	u32 flags;
};

// The limits of one record. User space makes sure that what it asks for fits.
#define RANGES 6
#define RANGE_LEN 64
#define STATE_LEN 512
#define CFRAME_LEN 32
#define FRAME_LEN 256
#define CODE_LEN 256
#define CODE_FIELDS 6
#define TEXTS 3
#define TEXT_LEN 40
#define PART_FRAMES 32

// `struct settings` of user space: for all processes.
struct settings {
	// The PID namespace whose ids are used: device and inode of /proc/PID/ns/pid; 0: the first one.
	u64 ns_dev;
	u64 ns_ino;
	// One sample is taken on each CPU in each window of this length, from that time on (CLOCK_MONOTONIC).
	u64 window_ns;
	u64 start_ns;
	// The most frames that are copied of one stack, in whole records.
	u64 max_frames;
	// The mean time between two page faults of one process that are recorded, between two waits of one thread, and between
	// two waits of one process. How many bytes may wait in the ring for one to be recorded.
	u64 fault_gap_ns;
	u64 thread_wait_gap_ns;
	u64 wait_gap_ns;
	u64 room;
};

// What to copy of the threads of one process.
struct process {
	// The address of the pointer to the thread state that holds the GIL; 0 if unknown.
	u64 gil_holder;
	// The PID namespace of the process, if it is not that of the settings: see there.
	u64 ns_dev;
	u64 ns_ino;
	// Where a thread state has its pthread_t, and where the C library keeps the kernel's id of a thread in what
	// that points to. 0: unknown.
	u64 pthread;
	u64 tid_in_pthread;
	// Ranges that are the same for all threads. Unused ones have length 0.
	u64 range_addr[RANGES];
	u64 range_len[RANGES];
	// The part of a thread state that is copied, and where in it is the pointer to the leaf frame.
	u64 state_len;
	u64 frame_root;
	// Not 0: that pointer leads to a _PyCFrame, which has the pointer at this offset minus 1.
	u64 cframe;
	// The part of a frame that is copied, and the fields in it that are followed.
	u64 frame_len;
	u64 previous;
	u64 executable;
	u64 tag_mask;
	// The part of a code object that is read, and the fields in it that distinguish code objects. The last is 4
	// bytes long, the others 8.
	u64 code_len;
	u64 code_fields[CODE_FIELDS];
	// Three of these fields are strings or bytes whose contents distinguish code objects, too: a freed code object
	// may still lead to them after they have been used again. Where such an object has its length and hash, and
	// where each has its data.
	u64 text_head;
	u64 text_fields[TEXTS];
	u64 text_data[TEXTS];
	// A counter that moves whenever the address of a code object of this interpreter may be used again, and its
	// length, 4 or 8 bytes; 0: there is none. Where in a thread state is the pointer to its interpreter.
	u64 generation;
	u64 generation_len;
	u64 interpreter;
	u64 state_interpreter;
};

// Flags of a record.
#define MORE 1            // Another record has more frames.
#define UNREADABLE 2      // A page was not in memory: the stack ends too early.
#define TOO_DEEP 4        // There are more frames than any record has.
#define UNKNOWN_THREAD 8  // No thread state is known: there is no stack.
#define FAULT 16          // The stack of a page fault, not of an interrupt.
#define WAIT 32           // The stack of a thread that leaves its CPU.

struct header {
	u64 time_ns;
	u32 tid;
	u32 tgid;
	u64 state;
	u32 flags;
	u32 frames;
	// Of a page fault: how many faults of the process it stands for, and the address. Of a wait: what is known of the
	// waits before, see `struct wait`: `recorded_at_ns`, `recorded_ns`, `skipped_ns`.
	u64 details[3];
};

// Frames may be added up to here; each takes at most 16 + FRAME_LEN bytes.
#define FRAMES_END (PART_FRAMES * (16 + FRAME_LEN) + 2048)

struct scratch {
	u8 bytes[FRAMES_END + 16 + FRAME_LEN + 64];
	u8 code[CODE_LEN];
	u64 text[TEXT_LEN / 8];
	// Between two programs: where the next frame goes, its address, the flags so far, and the process.
	u64 at;
	u64 frame;
	u32 flags;
	u32 tgid;
	// How many frames may still be copied.
	u64 frames_left;
	// The current thread, and why it is copied.
	u64 now;
	u32 tid;
	u32 reason;
	u64 details[3];
	// The counter of code objects; 0: their identities are not known from before.
	u64 generation;
	// When the last page fault of the process on this CPU was, and the thread.
	u64 fault_ns;
	u64 fault_tid;
	// When a thread last left this CPU.
	u64 left_ns;
};

// The identity of a code object while the counter has this value.
struct code_key {
	u64 tgid;
	u64 addr;
};

struct known_code {
	u64 generation;
	u64 identity;
};

// Which page faults of a process are recorded, which waits of a thread, or of a process. CPUs change it at the same time,
// so that it may be off by a few: what is not recorded is known by its sum, and attributed to what is.
struct budget {
	// So many are passed before the next one is recorded.
	u64 to_pass;
	// How many that one will stand for.
	u64 weight;
	// One of so many is recorded, on average.
	u64 stride;
	// When the last one was recorded.
	u64 last_ns;
	// A bucket of time, from which each recorded one takes a gap.
	u64 saved_ns;
	// From when on another page fault is recorded since it took long.
	u64 next_slow_ns;
	// How many were passed in all, of waits of a process.
	u64 passed;
};

// Of a thread: its last wait, and those before.
struct wait {
	// Tells this thread from an earlier one with its id.
	u64 task;
	// When it left its CPU, and whether that was recorded.
	u64 out_ns;
	u64 is_recorded;
	// The last wait that was recorded: when it began, and how long it took.
	u64 recorded_at_ns;
	u64 recorded_ns;
	// How long all waits took that were not recorded, since the last one that was.
	u64 skipped_ns;
	// For waits, and for times without a CPU: those are many on a crowded machine, and short.
	struct budget blocked;
	struct budget preempted;
};

// The most time in the bucket: after a pause so many events are recorded one by one.
#define BURST 50
// After so long without one each is recorded.
#define PAUSE_NS 10000000
#define MAX_STRIDE (1 << 20)
// A fault so long after the one before of the same thread may have taken so long: then it has added a huge page, which
// counts for 512. It is recorded beside the others, and stands for itself, but on average only one in this time, and so
// many in a row.
#define SLOW_NS 30000
#define SLOW_GAP_NS 1000000
#define SLOW_BURST 20

struct map_definition SEC("maps") settings = {MAP_ARRAY, 4, sizeof(struct settings), 1};
struct map_definition SEC("maps") processes = {MAP_HASH, 4, sizeof(struct process), 4096};
struct map_definition SEC("maps") threads = {MAP_LRU_HASH, 4, 8, 16384};
struct map_definition SEC("maps") known_codes = {MAP_LRU_HASH, sizeof(struct code_key), sizeof(struct known_code), 16384};
// User space sets the sizes of these: CPUs, and bytes.
struct map_definition SEC("maps") scratches = {MAP_ARRAY, 4, sizeof(struct scratch), 1};
struct map_definition SEC("maps") windows = {MAP_ARRAY, 4, 8, 1};
struct map_definition SEC("maps") ring = {MAP_RINGBUF, 0, 0, 1 << 20};
// How many samples did not fit into the ring.
struct map_definition SEC("maps") dropped = {MAP_ARRAY, 4, 8, 1};

struct map_definition SEC("maps") fault_budgets = {MAP_HASH, 4, sizeof(struct budget), 4096};
struct map_definition SEC("maps") wait_budgets = {MAP_HASH, 4, sizeof(struct budget), 4096};
struct map_definition SEC("maps") waits = {MAP_LRU_HASH, 4, sizeof(struct wait), 16384};

// `frames` and `stack`, so that they can be called.
#define FRAMES 0
#define STACK 1
struct map_definition SEC("maps") programs = {MAP_PROGRAMS, 4, 4, 2};
// The same for the tracepoint: a program can only call those of its own kind.
struct map_definition SEC("maps") switch_programs = {MAP_PROGRAMS, 4, 4, 2};

#define RING_NO_WAKEUP 1
#define RING_AVAILABLE 0

static __attribute__((always_inline)) void output(struct scratch *scratch, u64 len)
{
	if (len > FRAMES_END + 16 + FRAME_LEN)
		return;
	if (ringbuf_output(&ring, scratch->bytes, len, RING_NO_WAKEUP) != 0) {
		u32 zero = 0;
		u64 *count = map_lookup(&dropped, &zero);
		if (count)
			__sync_fetch_and_add(count, 1);
	}
}

struct ids {
	u32 pid;
	u32 tgid;
};

// Whether a thread state is that of the thread with this id in the process's own PID namespace. The C library keeps
// the id in what the pthread_t points to.
static __attribute__((always_inline)) int is_of(struct process *process, u64 state, u32 tid)
{
	u64 pthread = 0;
	u32 its_tid = 0;
	if (probe_read_user(&pthread, 8, (void *)(state + process->pthread)) != 0 || !pthread)
		return 0;
	if (probe_read_user(&its_tid, 4, (void *)(pthread + process->tid_in_pthread)) != 0)
		return 0;
	return its_tid == tid;
}

// The thread state of the current thread: the one that holds the GIL, or, of a thread without it, the one that is
// known. What is known may be another thread's by now, since ids are used again.
static __attribute__((always_inline)) u64 find_state(struct process *process, u32 tid)
{
	u64 holder = 0;
	u32 own_tid = tid;
	u64 *known = map_lookup(&threads, &tid);
	if (!process->tid_in_pthread)
		return known ? *known : 0;
	if (process->ns_ino) {
		struct ids ids;
		if (ns_current_pid_tgid(process->ns_dev, process->ns_ino, &ids, sizeof(ids)) != 0)
			return 0;
		own_tid = ids.pid;
	}
	if (process->gil_holder && probe_read_user(&holder, 8, (void *)process->gil_holder) == 0 && holder &&
	    is_of(process, holder, own_tid)) {
		if (!known)
			map_update(&threads, &tid, &holder, 0);
		return holder;
	}
	if (known) {
		u64 state = *known;
		if (is_of(process, state, own_tid))
			return state;
	}
	return 0;
}

static __attribute__((always_inline)) u64 mixed(u64 mix, u64 field)
{
	mix = (mix ^ field) * 0x9e3779b97f4a7c15ULL;
	return mix ^ (mix >> 32);
}

// Mixes in what a string says: its length and its hash, or its first bytes where the hash was never computed.
static __attribute__((always_inline)) u64 text(struct scratch *scratch, struct process *process, u64 mix, u64 addr, u64 data)
{
	u64 head[2];
	if (probe_read_user(head, 16, (void *)(addr + process->text_head)) != 0)
		return mixed(mix, 1);
	mix = mixed(mixed(mix, head[0]), head[1]);
	if (head[1] != ~0ULL)
		return mix;
	u64 len = head[0] > TEXT_LEN ? TEXT_LEN : head[0];
	for (int i = 0; i < TEXT_LEN / 8; i++)
		scratch->text[i] = 0;
	if (len && probe_read_user(scratch->text, len, (void *)(addr + data)) != 0)
		return mixed(mix, 2);
#pragma unroll
	for (int i = 0; i < TEXT_LEN / 8; i++)
		mix = mixed(mix, scratch->text[i]);
	return mix;
}

// What identifies the code object at `addr`: a mix of its fields, as `code_identities` in copy_plan.rs computes it.
static __attribute__((always_inline)) u64 identity(struct scratch *scratch, struct process *process, u64 addr)
{
	u64 len = process->code_len & (CODE_LEN - 1);
	if (!len || probe_read_user(scratch->code, len, (void *)addr) != 0)
		return 0;
	u64 mix = addr;
#pragma unroll
	for (int i = 0; i < CODE_FIELDS; i++) {
		u64 at = process->code_fields[i] & (CODE_LEN - 8);
		// firstlineno may be in the upper half of its word; that half's neighbour does not change either.
		mix = mixed(mix, *(u64 *)(scratch->code + at));
	}
#pragma unroll
	for (int i = 0; i < TEXTS; i++) {
		u64 at = process->text_fields[i] & (CODE_LEN - 8);
		mix = text(scratch, process, mix, *(u64 *)(scratch->code + at), process->text_data[i]);
	}
	return mix;
}

// The same, from before while the counter has not moved: then the object at this address is the same.
static __attribute__((always_inline)) u64 known_identity(struct scratch *scratch, struct process *process, u64 addr)
{
	struct code_key key = {scratch->tgid, addr};
	u64 generation = scratch->generation;
	if (generation) {
		struct known_code *known = map_lookup(&known_codes, &key);
		if (known && known->generation == generation)
			return known->identity;
	}
	struct known_code code = {generation, identity(scratch, process, addr)};
	if (generation)
		map_update(&known_codes, &key, &code, 0);
	return code.identity;
}

// The ids of the current thread in the namespace of the settings; `tgid` is 0 if it has none there.
static __attribute__((always_inline)) struct ids current_ids(struct settings *set)
{
	struct ids ids = {0, 0};
	if (set->ns_ino) {
		if (ns_current_pid_tgid(set->ns_dev, set->ns_ino, &ids, sizeof(ids)) != 0)
			ids.tgid = 0;
	} else {
		u64 both = current_pid_tgid();
		ids.pid = both;
		ids.tgid = both >> 32;
	}
	return ids;
}

SEC("perf_event")
int sample(void *context)
{
	u32 zero = 0, cpu = smp_processor_id();
	struct settings *set = map_lookup(&settings, &zero);
	u64 *window = map_lookup(&windows, &cpu);
	if (!set || !window || !set->window_ns)
		return 0;
	u64 now = ktime_get_ns();
	if (now < set->start_ns)
		return 0;
	// 0 is none.
	u64 current_window = (now - set->start_ns) / set->window_ns + 1;
	if (*window == current_window)
		return 0;
	*window = current_window;
	struct ids ids = current_ids(set);
	if (!map_lookup(&processes, &ids.tgid))
		return 0;
	struct scratch *scratch = map_lookup(&scratches, &cpu);
	if (!scratch)
		return 0;
	scratch->now = now;
	scratch->tid = ids.pid;
	scratch->tgid = ids.tgid;
	scratch->reason = 0;
	for (int i = 0; i < 3; i++)
		scratch->details[i] = 0;
	tail_call(context, &programs, STACK);
	return 0;
}

// Where `struct bpf_perf_event_data` has the address of a page fault (x86-64).
#define CONTEXT_ADDR 176

// Copies the stack of a page fault that stands for so many, if there is room for it in the ring. What is left out is
// corrected by what is resident.
static __attribute__((always_inline)) int record(void *context, struct settings *set, struct scratch *scratch,
						 struct ids ids, u64 now, u64 weight)
{
	if (ringbuf_query(&ring, RING_AVAILABLE) > set->room)
		return 0;
	scratch->now = now;
	scratch->tid = ids.pid;
	scratch->tgid = ids.tgid;
	scratch->reason = FAULT;
	scratch->details[0] = weight;
	scratch->details[1] = *(u64 *)((u8 *)context + CONTEXT_ADDR);
	scratch->details[2] = 0;
	tail_call(context, &programs, STACK);
	return 0;
}

// How many events one stands for that is recorded now, after those that were passed.
static __attribute__((always_inline)) u64 take(struct budget *budget, u64 now, u64 gap)
{
	// Another CPU may have stored a later time.
	u64 last = budget->last_ns, elapsed = now > last ? now - last : 0;
	u64 stride = budget->stride, saved = budget->saved_ns + elapsed, weight = budget->weight;
	budget->last_ns = now;
	if (elapsed > PAUSE_NS)
		stride = 1;
	if (elapsed > BURST * gap || saved > BURST * gap)
		saved = BURST * gap;
	if (saved >= gap) {
		saved -= gap;
		stride -= (stride + 7) / 8;
		stride = stride ? stride : 1;
	} else if (stride < MAX_STRIDE) {
		stride += stride / 8 + 1;
	}
	budget->saved_ns = saved;
	budget->stride = stride;
	// At random, so that no program works in step with it. The mean of these is the stride less 1.
	u64 to_pass = stride > 1 ? prandom() % (2 * stride - 1) : 0;
	budget->to_pass = to_pass;
	budget->weight = to_pass + 1;
	return weight;
}

// Whether an event is recorded.
static __attribute__((always_inline)) int is_due(struct budget *budget, u64 now, u64 gap)
{
	if (budget->to_pass && now < budget->last_ns + PAUSE_NS) {
		budget->to_pass--;
		return 0;
	}
	take(budget, now, gap);
	return 1;
}

// A page fault, after the page was added. There may be a million in a second, on any CPU and of any process.
SEC("perf_event")
int fault(void *context)
{
	u32 zero = 0;
	struct settings *set = map_lookup(&settings, &zero);
	if (!set)
		return 0;
	struct ids ids = current_ids(set);
	struct budget *budget = map_lookup(&fault_budgets, &ids.tgid);
	if (!budget)
		return 0;
	u64 now = ktime_get_ns();
	if (now < set->start_ns)
		return 0;
	u32 cpu = smp_processor_id();
	struct scratch *scratch = map_lookup(&scratches, &cpu);
	if (!scratch)
		return 0;
	int is_slow = scratch->fault_tid == ids.pid && now - scratch->fault_ns >= SLOW_NS;
	scratch->fault_tid = ids.pid;
	scratch->fault_ns = now;
	if (!budget->to_pass)
		return record(context, set, scratch, ids, now, take(budget, now, set->fault_gap_ns));
	u64 next_slow = budget->next_slow_ns;
	if (!is_slow || now < next_slow) {
		budget->to_pass--;
		return 0;
	}
	if (now > SLOW_BURST * SLOW_GAP_NS && next_slow < now - SLOW_BURST * SLOW_GAP_NS)
		next_slow = now - SLOW_BURST * SLOW_GAP_NS;
	budget->next_slow_ns = next_slow + SLOW_GAP_NS;
	return record(context, set, scratch, ids, now, 1);
}

// A context switch: the current thread leaves its CPU. It came when the one before it left.
static __attribute__((always_inline)) int leave(void *context, u64 is_preempted)
{
	u32 zero = 0, cpu = smp_processor_id();
	struct settings *set = map_lookup(&settings, &zero);
	struct scratch *scratch = map_lookup(&scratches, &cpu);
	if (!set || !scratch)
		return 0;
	u64 now = ktime_get_ns(), came_ns = scratch->left_ns;
	scratch->left_ns = now;
	struct ids ids = current_ids(set);
	struct budget *budget = map_lookup(&wait_budgets, &ids.tgid);
	if (!budget || now < set->start_ns)
		return 0;
	u32 tid = ids.pid;
	u64 task = current_task();
	struct wait *last = map_lookup(&waits, &tid);
	struct wait wait;
	if (last && last->task == task) {
		wait = *last;
	} else {
		// Until now it has waited since the start, as far as is known, or has run.
		wait.task = task;
		wait.out_ns = set->start_ns;
		wait.is_recorded = 1;
		wait.recorded_at_ns = set->start_ns;
		wait.recorded_ns = 0;
		wait.skipped_ns = 0;
		wait.blocked = wait.preempted = (struct budget){0, 1, 1};
	}
	u64 waited = came_ns > wait.out_ns ? came_ns - wait.out_ns : 0;
	if (wait.is_recorded)
		wait.recorded_ns = waited;
	else
		wait.skipped_ns += waited;
	wait.out_ns = now;
	u64 gap = set->thread_wait_gap_ns;
	int is_recorded = is_preempted ? is_due(&wait.preempted, now, gap) : is_due(&wait.blocked, now, gap);
	wait.is_recorded = is_recorded && is_due(budget, now, set->wait_gap_ns) &&
			   ringbuf_query(&ring, RING_AVAILABLE) <= set->room;
	if (!wait.is_recorded) {
		budget->passed++;
	} else {
		scratch->details[0] = wait.recorded_at_ns;
		scratch->details[1] = wait.recorded_ns;
		scratch->details[2] = wait.skipped_ns;
		wait.recorded_at_ns = now;
		wait.recorded_ns = 0;
		wait.skipped_ns = 0;
	}
	map_update(&waits, &tid, &wait, 0);
	if (!wait.is_recorded)
		return 0;
	scratch->now = now;
	scratch->tid = tid;
	scratch->tgid = ids.tgid;
	scratch->reason = WAIT;
	tail_call(context, &switch_programs, STACK);
	return 0;
}

// The arguments of the tracepoint: whether a thread is preempted in the kernel, the two threads, and from Linux 5.18 on
// the state of the one that leaves, which is 0 if it would run on. PERF_COUNT_SW_CONTEXT_SWITCHES would not do: some
// kernels do not report all switches (seen of 6.18: none of an idle CPU to a thread, but on the first CPU).
SEC("raw_tp/sched_switch")
int switched(void *context)
{
	u64 *arguments = context;
	return leave(context, (arguments[0] & 1) || (u32)arguments[3] == 0);
}

// The same on older kernels, where most threads that have to leave their CPU cannot be told from those that wait.
SEC("raw_tp/sched_switch")
int switched_no_state(void *context)
{
	u64 *arguments = context;
	return leave(context, arguments[0] & 1);
}

// Copies the stack of the current thread.
static __attribute__((always_inline)) int copy_stack(void *context, void *called)
{
	u32 zero = 0, cpu = smp_processor_id();
	struct settings *set = map_lookup(&settings, &zero);
	struct scratch *scratch = map_lookup(&scratches, &cpu);
	if (!set || !scratch)
		return 0;
	u32 tid = scratch->tid, tgid = scratch->tgid;
	struct process *process = map_lookup(&processes, &tgid);
	if (!process)
		return 0;
	struct header *header = (struct header *)scratch->bytes;
	u64 state = find_state(process, tid);
	u32 flags = scratch->reason;
	header->time_ns = scratch->now;
	header->tid = tid;
	header->tgid = tgid;
	header->state = state;
	header->frames = 0;
	for (int i = 0; i < 3; i++)
		header->details[i] = scratch->details[i];
	if (!state) {
		header->flags = flags | UNKNOWN_THREAD;
		output(scratch, sizeof(*header));
		return 0;
	}
	u64 at = sizeof(*header);
#pragma unroll
	for (int i = 0; i < RANGES; i++) {
		u64 len = process->range_len[i];
		if (len > 0 && len <= RANGE_LEN) {
			if (probe_read_user(scratch->bytes + at, len, (void *)process->range_addr[i]) != 0)
				flags |= UNREADABLE;
			at += len;
		}
	}
	u64 state_at = at;
	u64 len = process->state_len;
	if (!len || len > STATE_LEN || at > 1024)
		return 0;
	if (probe_read_user(scratch->bytes + at, len, (void *)state) != 0)
		flags |= UNREADABLE;
	at += len;
	u64 frame = *(u64 *)(scratch->bytes + state_at + (process->frame_root & (STATE_LEN - 8)));
	if (process->cframe) {
		u64 field = process->cframe - 1;
		if (field > CFRAME_LEN - 16)
			return 0;
		u64 cframe = frame;
		frame = 0;
		// The current one and the one before.
#pragma unroll
		for (int i = 0; i < 2; i++) {
			u8 *copy = scratch->bytes + at;
			if (at > 2048 - 8 - CFRAME_LEN)
				return 0;
			*(u64 *)copy = cframe;
			if (!cframe) {
				for (int j = 1; j <= CFRAME_LEN / 8; j++)
					((u64 *)copy)[j] = 0;
			} else if (probe_read_user(copy + 8, CFRAME_LEN, (void *)cframe) != 0) {
				flags |= i ? 0 : UNREADABLE;
				cframe = 0;
			} else {
				if (i == 0)
					frame = *(u64 *)(copy + 8 + field);
				cframe = *(u64 *)(copy + 8 + field + 8);
			}
			at += 8 + CFRAME_LEN;
		}
	}
	u64 generation = 0;
	u64 interpreter = *(u64 *)(scratch->bytes + state_at + (process->state_interpreter & (STATE_LEN - 8)));
	len = process->generation_len;
	if (interpreter == process->interpreter && (len == 4 || len == 8) &&
	    probe_read_user(&generation, len, (void *)process->generation) != 0)
		generation = 0;
	scratch->generation = generation;
	scratch->frames_left = set->max_frames;
	scratch->at = at;
	scratch->frame = flags & UNREADABLE ? 0 : frame;
	scratch->flags = flags;
	tail_call(context, called, FRAMES);
	return 0;
}

// Copies the next frames of the stack, and is called again while there are more: a loop over all of them would take
// the verifier a second.
static __attribute__((always_inline)) int copy_frames(void *context, void *called)
{
	u32 cpu = smp_processor_id();
	struct scratch *scratch = map_lookup(&scratches, &cpu);
	if (!scratch)
		return 0;
	u32 tgid = scratch->tgid, flags = scratch->flags, count = 0;
	struct process *process = map_lookup(&processes, &tgid);
	if (!process)
		return 0;
	struct header *header = (struct header *)scratch->bytes;
	u64 at = scratch->at, frame = scratch->frame;
	u64 frame_len = process->frame_len;
	if (!frame_len || frame_len > FRAME_LEN)
		return 0;
	u64 previous = process->previous & (FRAME_LEN - 8);
	u64 executable = process->executable & (FRAME_LEN - 8);
	for (int i = 0; i < PART_FRAMES; i++) {
		if (!frame || at > FRAMES_END)
			break;
		u8 *copy = scratch->bytes + at;
		*(u64 *)copy = frame;
		if (probe_read_user(copy + 16, frame_len, (void *)frame) != 0) {
			flags |= UNREADABLE;
			frame = 0;
			break;
		}
		u64 code = *(u64 *)(copy + 16 + executable) & ~process->tag_mask;
		*(u64 *)(copy + 8) = known_identity(scratch, process, code);
		frame = *(u64 *)(copy + 16 + previous);
		at += 16 + frame_len;
		count++;
	}
	header->frames = count;
	header->flags = frame ? flags | MORE : flags;
	output(scratch, at);
	if (!frame)
		return 0;
	scratch->at = sizeof(*header);
	scratch->frame = frame;
	if (scratch->frames_left > PART_FRAMES) {
		scratch->frames_left -= PART_FRAMES;
		tail_call(context, called, FRAMES);
	}
	// The kernel ends a chain of calls after 33, of which one is that of `stack`.
	header->frames = 0;
	header->flags = flags | TOO_DEEP;
	output(scratch, sizeof(*header));
	return 0;
}

SEC("perf_event")
int stack(void *context)
{
	return copy_stack(context, &programs);
}

SEC("perf_event")
int frames(void *context)
{
	return copy_frames(context, &programs);
}

SEC("raw_tp/sched_switch")
int switch_stack(void *context)
{
	return copy_stack(context, &switch_programs);
}

SEC("raw_tp/sched_switch")
int switch_frames(void *context)
{
	return copy_frames(context, &switch_programs);
}

char program_license[] SEC("license") = "Dual MIT/GPL";
