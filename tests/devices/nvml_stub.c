/* A stand-in for libnvidia-ml.so.1, by NVIDIA's published interface: two GPUs, one of them poor.
   For tests of harness.devices.nvml through the real nvidia-ml-py. What is not here is what an old
   driver lacks. */
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, GPU_IS_LOST = 15 };
static char devices[3];
static int lost;
static unsigned long long millijoules = 5000;

static int number(void *device) { return (int)((char *)device - devices); }

int nvmlInitWithFlags(unsigned flags) { return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code == GPU_IS_LOST ? "GPU is lost" : "other"; }
int nvmlSystemGetDriverVersion(char *text, unsigned length) { strcpy(text, "570.1"); return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 3; return SUCCESS; }
void stub_lose(int yes) { lost = yes; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    if (index == 2) return GPU_IS_LOST;
    *device = devices + index;
    return SUCCESS;
}
int nvmlDeviceGetUUID(void *device, char *text, unsigned length) {
    strcpy(text, number(device) ? "GPU-bbbbbbbb-0" : "GPU-aaaaaaaa-0");
    return SUCCESS;
}
int nvmlDeviceGetName(void *device, char *text, unsigned length) {
    if (number(device)) return NOT_SUPPORTED;
    strcpy(text, "Stub H1");
    return SUCCESS;
}
struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };
int nvmlDeviceGetPciInfo_v3(void *device, struct pci *pci) {
    strcpy(pci->bus_id, number(device) ? "00000000:02:00.0" : "00000000:81:00.0");
    return SUCCESS;
}
struct memory { unsigned version; unsigned long long total, reserved, free, used; };
int nvmlDeviceGetMemoryInfo_v2(void *device, struct memory *memory) {
    if (lost) return GPU_IS_LOST;
    if (memory->version != 0x02000028) return 25;
    memory->total = 1000; memory->reserved = 100; memory->free = 700; memory->used = 200;
    return SUCCESS;
}
int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned *mw) {
    if (number(device)) return NOT_SUPPORTED;
    *mw = 700000;
    return SUCCESS;
}
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *mj) {
    if (lost) return GPU_IS_LOST;
    if (number(device)) return NOT_SUPPORTED;
    *mj = millijoules += 7;
    return SUCCESS;
}
int nvmlDeviceGetPowerUsage(void *device, unsigned *mw) {
    if (lost) return GPU_IS_LOST;
    *mw = 123456;
    return SUCCESS;
}
int nvmlDeviceGetClockInfo(void *device, int type, unsigned *mhz) {
    if (lost) return GPU_IS_LOST;
    *mhz = 1000 + type;
    return SUCCESS;
}
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius) {
    if (lost) return GPU_IS_LOST;
    *celsius = 55;
    return SUCCESS;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *mask) {
    if (lost) return GPU_IS_LOST;
    *mask = 4;
    return SUCCESS;
}
struct rates { unsigned gpu, memory; };
int nvmlDeviceGetUtilizationRates(void *device, struct rates *rates) {
    if (lost) return GPU_IS_LOST;
    rates->gpu = 87; rates->memory = 12;
    return SUCCESS;
}
struct field {
    unsigned id, scope; long long timestamp, latency_us; int type, code;
    union { double d; unsigned ui; unsigned long ul; unsigned long long ull; } value;
};
int nvmlDeviceGetFieldValues(void *device, int count, struct field *fields) {
    if (lost) return GPU_IS_LOST;
    for (int i = 0; i < count; i++) {
        fields[i].code = SUCCESS;
        if (fields[i].id == 186) { fields[i].type = 1; fields[i].value.ui = 222222; }
        else if (fields[i].id == 75) { fields[i].type = 3; fields[i].value.ull = 1ULL << 40; }
        else if (fields[i].id == 74 && !number(device)) { fields[i].type = 3; fields[i].value.ull = 9; }
        else fields[i].code = NOT_SUPPORTED;
    }
    return SUCCESS;
}
struct process { unsigned pid; unsigned long long used; unsigned gpu, compute; };
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, struct process *list) {
    if (number(device)) return NOT_SUPPORTED;
    if (*count < 2) { *count = 2; return INSUFFICIENT_SIZE; }
    *count = 2;
    list[0].pid = 41; list[0].used = 64; list[0].gpu = list[0].compute = 0;
    list[1].pid = 42; list[1].used = ~0ULL; list[1].gpu = list[1].compute = 0;
    return SUCCESS;
}
/* The newest form of this one is missing. */
int nvmlDeviceGetGraphicsRunningProcesses_v2(void *device, unsigned *count, struct process *list) {
    if (*count < 2) { *count = 2; return INSUFFICIENT_SIZE; }
    *count = 2;
    list[0].pid = 41; list[0].used = 64; list[0].gpu = list[0].compute = 0;
    list[1].pid = 77; list[1].used = 5; list[1].gpu = list[1].compute = 0;
    return SUCCESS;
}
