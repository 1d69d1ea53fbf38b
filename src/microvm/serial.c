#include "microvm/serial.h"

#include <string.h>

/* Register offsets (National Semiconductor PC16550D data sheet); some differ between read and write or with
 * DLAB. */
enum {
    REG_DATA = 0, /* RBR, THR; DLL with DLAB */
    REG_IER = 1,  /* DLM with DLAB */
    REG_IIR_FCR = 2,
    REG_LCR = 3,
    REG_MCR = 4,
    REG_LSR = 5,
    REG_MSR = 6,
    REG_SCR = 7,
};

#define IER_RX_DATA 0x01
#define IER_THR     0x02
#define IER_LINE    0x04
#define IER_ALL     0x0f

#define IIR_NONE    0x01
#define IIR_THR     0x02
#define IIR_RX_DATA 0x04
#define IIR_LINE    0x06
#define IIR_FIFO_ON 0xc0

#define FCR_ENABLE   0x01
#define FCR_CLEAR_RX 0x02
#define FCR_KEPT     0xc9 /* enable, DMA mode, trigger level */

#define LCR_DLAB 0x80

#define MCR_DTR  0x01
#define MCR_RTS  0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10
#define MCR_ALL  0x1f

#define LSR_DATA      0x01
#define LSR_OVERRUN   0x02
#define LSR_THR_EMPTY 0x20
#define LSR_IDLE      0x40

#define MSR_CTS 0x10
#define MSR_DSR 0x20
#define MSR_RI  0x40
#define MSR_DCD 0x80

void serial_init(struct serial *serial, const struct serial_options *options)
{
    *serial = (struct serial){.options = *options, .dll = 12};
    pthread_mutex_init(&serial->lock, NULL);
}

void serial_destroy(struct serial *serial)
{
    pthread_mutex_destroy(&serial->lock);
}

/* The pending interrupt of the highest priority. */
static uint8_t pending_interrupt(const struct serial *serial)
{
    if (serial->overrun && (serial->ier & IER_LINE))
        return IIR_LINE;
    if (serial->rx_count > 0 && (serial->ier & IER_RX_DATA))
        return IIR_RX_DATA;
    if (serial->thr_empty_pending && (serial->ier & IER_THR))
        return IIR_THR;
    return IIR_NONE;
}

static void update_line(struct serial *serial)
{
    bool level = pending_interrupt(serial) != IIR_NONE;
    if (level == serial->line)
        return;
    serial->line = level;
    serial->options.interrupt(serial->options.opaque, level);
}

static void flush_locked(struct serial *serial)
{
    if (serial->out_len == 0)
        return;
    size_t len = serial->out_len;
    serial->out_len = 0;
    serial->options.output(serial->options.opaque, serial->out, len);
}

static void push_received(struct serial *serial, uint8_t c)
{
    if (serial->rx_count == SERIAL_FIFO) {
        serial->overrun = true;
        return;
    }
    serial->rx[(serial->rx_head + serial->rx_count) % SERIAL_FIFO] = c;
    serial->rx_count++;
}

static uint8_t pop_received(struct serial *serial)
{
    if (serial->rx_count == 0)
        return 0;
    uint8_t c = serial->rx[serial->rx_head];
    serial->rx_head = (serial->rx_head + 1) % SERIAL_FIFO;
    serial->rx_count--;
    return c;
}

static bool can_receive(const struct serial *serial)
{
    return serial->input_open && serial->rx_count < SERIAL_FIFO && (serial->mcr & MCR_RTS) != 0 &&
           (serial->mcr & MCR_LOOP) == 0;
}

static void transmit(struct serial *serial, uint8_t c)
{
    if (serial->mcr & MCR_LOOP) {
        push_received(serial, c);
    } else {
        /* One write a line, not one a character; a partial line goes out when the guest asks
         * what is pending. */
        serial->out[serial->out_len++] = c;
        if (c == '\n' || serial->out_len == SERIAL_OUT_MAX)
            flush_locked(serial);
    }
    /* The register is empty again at once, yet the line must fall before it rises: the interrupt is
     * edge-triggered. */
    serial->thr_empty_pending = false;
    update_line(serial);
    serial->thr_empty_pending = true;
    update_line(serial);
}

static uint8_t read_iir(struct serial *serial)
{
    uint8_t pending = pending_interrupt(serial);
    if (pending == IIR_THR)
        serial->thr_empty_pending = false;
    flush_locked(serial);
    return (uint8_t)(pending | (serial->fcr & FCR_ENABLE ? IIR_FIFO_ON : 0));
}

static uint8_t read_lsr(struct serial *serial)
{
    uint8_t lsr = LSR_THR_EMPTY | LSR_IDLE;
    if (serial->rx_count > 0)
        lsr |= LSR_DATA;
    if (serial->overrun)
        lsr |= LSR_OVERRUN;
    serial->overrun = false;
    return lsr;
}

static uint8_t read_msr(const struct serial *serial)
{
    if ((serial->mcr & MCR_LOOP) == 0)
        return MSR_CTS | MSR_DSR | MSR_DCD;
    uint8_t msr = 0;
    msr |= serial->mcr & MCR_RTS ? MSR_CTS : 0;
    msr |= serial->mcr & MCR_DTR ? MSR_DSR : 0;
    msr |= serial->mcr & MCR_OUT1 ? MSR_RI : 0;
    msr |= serial->mcr & MCR_OUT2 ? MSR_DCD : 0;
    return msr;
}

static uint8_t read_register(struct serial *serial, uint32_t reg)
{
    bool dlab = (serial->lcr & LCR_DLAB) != 0;
    switch (reg) {
    case REG_DATA:
        return dlab ? serial->dll : pop_received(serial);
    case REG_IER:
        return dlab ? serial->dlm : serial->ier;
    case REG_IIR_FCR:
        return read_iir(serial);
    case REG_LCR:
        return serial->lcr;
    case REG_MCR:
        return serial->mcr;
    case REG_LSR:
        return read_lsr(serial);
    case REG_MSR:
        return read_msr(serial);
    default:
        return serial->scr;
    }
}

static void write_ier(struct serial *serial, uint8_t value)
{
    /* Switching the transmit interrupt on while the register is empty raises it. */
    if ((value & IER_THR) && !(serial->ier & IER_THR))
        serial->thr_empty_pending = true;
    serial->ier = value & IER_ALL;
}

static void write_fcr(struct serial *serial, uint8_t value)
{
    if ((value & FCR_CLEAR_RX) || ((value ^ serial->fcr) & FCR_ENABLE))
        serial->rx_count = 0;
    serial->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
}

static void write_register(struct serial *serial, uint32_t reg, uint8_t value)
{
    bool dlab = (serial->lcr & LCR_DLAB) != 0;
    switch (reg) {
    case REG_DATA:
        if (dlab)
            serial->dll = value;
        else
            transmit(serial, value);
        break;
    case REG_IER:
        if (dlab)
            serial->dlm = value;
        else
            write_ier(serial, value);
        break;
    case REG_IIR_FCR:
        write_fcr(serial, value);
        break;
    case REG_LCR:
        serial->lcr = value;
        break;
    case REG_MCR:
        serial->mcr = value & MCR_ALL;
        break;
    case REG_SCR:
        serial->scr = value;
        break;
    default: /* LSR and MSR are read-only */
        break;
    }
}

static uint32_t port_read(void *opaque, uint32_t offset, uint32_t len)
{
    struct serial *serial = opaque;
    (void)len; /* the chip is 8 bits wide: a wider access reaches its first register only */
    pthread_mutex_lock(&serial->lock);
    bool could = can_receive(serial);
    uint8_t value = read_register(serial, offset);
    update_line(serial);
    bool ready = !could && can_receive(serial);
    pthread_mutex_unlock(&serial->lock);
    if (ready)
        serial->options.ready(serial->options.opaque);
    return value;
}

static void port_write(void *opaque, uint32_t offset, uint32_t len, uint32_t value)
{
    struct serial *serial = opaque;
    (void)len;
    pthread_mutex_lock(&serial->lock);
    bool could = can_receive(serial);
    write_register(serial, offset, (uint8_t)value);
    update_line(serial);
    bool ready = !could && can_receive(serial);
    pthread_mutex_unlock(&serial->lock);
    if (ready)
        serial->options.ready(serial->options.opaque);
}

const struct port_ops serial_port_ops = {.read = port_read, .write = port_write};

void serial_open_input(struct serial *serial)
{
    pthread_mutex_lock(&serial->lock);
    serial->input_open = true;
    pthread_mutex_unlock(&serial->lock);
    serial->options.ready(serial->options.opaque);
}

size_t serial_room(struct serial *serial)
{
    pthread_mutex_lock(&serial->lock);
    size_t room = can_receive(serial) ? SERIAL_FIFO - serial->rx_count : 0;
    pthread_mutex_unlock(&serial->lock);
    return room;
}

size_t serial_receive(struct serial *serial, const uint8_t *data, size_t len)
{
    size_t taken = 0;
    pthread_mutex_lock(&serial->lock);
    while (taken < len && can_receive(serial))
        push_received(serial, data[taken++]);
    update_line(serial);
    pthread_mutex_unlock(&serial->lock);
    return taken;
}

void serial_flush(struct serial *serial)
{
    pthread_mutex_lock(&serial->lock);
    flush_locked(serial);
    pthread_mutex_unlock(&serial->lock);
}
