/* What is done for every message of a feed's short way: see `edc.forms` and `edc.wire`, which have
 * the same in Python for where no compiler was at hand.
 *
 * Texts are Python's bytes, which end with a NUL, and every scan stops at a letter that its field
 * cannot hold, the NUL and the line break among them: none runs over the end of a line. The lock of
 * the interpreter is released while texts are read.
 */
#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE /* strtod_l */
#include <Python.h>

#include <float.h>
#include <locale.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __APPLE__
#include <xlocale.h>
#endif

/* The Arrow C data interface, as its specification has it: two structs, shared by copying them. */

struct ArrowSchema {
    const char *format;
    const char *name;
    const char *metadata;
    int64_t flags;
    int64_t n_children;
    struct ArrowSchema **children;
    struct ArrowSchema *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
};

struct ArrowArray {
    int64_t length;
    int64_t null_count;
    int64_t offset;
    int64_t n_buffers;
    int64_t n_children;
    const void **buffers;
    struct ArrowArray **children;
    struct ArrowArray *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};

enum { MAY_BE_NULL = 2 };

/* A form: before each field a literal, and one after the last. */

enum kind { END, WORD, TEXT, REAL, REAL_OR_NULL, DECIMAL, INTEGER, FLAG, ISO, ZULU, FITS };

static const char *const KINDS[] = {
    [WORD] = "word",       [TEXT] = "text",       [REAL] = "real", [REAL_OR_NULL] = "real?",
    [DECIMAL] = "decimal", [INTEGER] = "integer", [FLAG] = "flag", [ISO] = "iso",
    [ZULU] = "zulu",
};

/* How a text of at most 12 bytes, or of more, stands in a column of texts. */
union view {
    struct {
        int32_t size;
        char text[12];
    } brief;
    struct {
        int32_t size;
        char begin[4];
        int32_t buffer;
        int32_t offset;
    } longer;
};

typedef struct {
    const char *literal;
    Py_ssize_t size;
    enum kind kind;
    bool kept;
    union {
        uint8_t *bytes; /* of FITS, which is no field: whether a line has the form */
        int64_t *integers;
        double *reals;
        union view *views;
        void *values;
    };
    uint8_t *valid; /* of a REAL_OR_NULL: one byte a row */
    char *heap;     /* what longer texts are, one after another */
    size_t heap_size, heap_room;
} Step;

/* Letters. */

static uint8_t LETTERS[256];
enum { IN_WORD = 1, IN_TEXT = 2 };

static void
fill_letters(void)
{
    for (int c = 0; c < 256; c++) {
        bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (alnum || (c && strchr("._:/-", c)))
            LETTERS[c] |= IN_WORD;
        if (c >= ' ' && c <= '~' && !strchr("\"\\,", c))
            LETTERS[c] |= IN_TEXT;
    }
}

/* As memcmp == 0; most literals are a few letters, for which a call is half the work. */
static inline bool
is_same(const char *a, const char *b, size_t size)
{
    for (; size >= sizeof(uint64_t); size -= sizeof(uint64_t)) {
        uint64_t first, second;
        memcpy(&first, a, sizeof first);
        memcpy(&second, b, sizeof second);
        if (first != second)
            return false;
        a += sizeof first;
        b += sizeof second;
    }
    for (; size > 0; size--)
        if (*a++ != *b++)
            return false;
    return true;
}

static inline bool
is_digit(char c)
{
    return (unsigned char)(c - '0') < 10;
}

/* Numbers. Each scan returns where the field ends, or NULL. */

static locale_t PLAIN;
static const double POWERS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
static const double GREATEST = 1e300;
enum { MOST_EXACT_POWER = 22, MOST_DIGITS = 19 };
static const int64_t MOST_EXPONENT = 1LL << 40; /* more than a text has digits */

static const char *
scan_real(const char *p, bool json, double *value)
{
    const char *start = p;
    bool negative = json && *p == '-';
    p += negative;
    uint64_t digits = 0;
    int64_t count = 0, scale = 0; /* of significant digits; the power of ten of the last one */
    if (*p == '0')
        p++;
    else if (is_digit(*p))
        for (; is_digit(*p); p++, count++)
            digits = digits * 10 + (uint64_t)(*p - '0');
    else
        return NULL;
    if (*p == '.') {
        if (!is_digit(*++p))
            return NULL;
        for (; is_digit(*p); p++, scale--) {
            digits = digits * 10 + (uint64_t)(*p - '0');
            count += (digits | (uint64_t)count) != 0; /* twenty digits may wrap round to 0 */
        }
    }
    if (json && (*p == 'e' || *p == 'E')) {
        p++;
        bool below = *p == '-';
        p += below || *p == '+';
        if (!is_digit(*p))
            return NULL;
        int64_t exponent = 0;
        for (; is_digit(*p); p++)
            if (exponent < MOST_EXPONENT)
                exponent = exponent * 10 + (*p - '0');
        scale += below ? -exponent : exponent;
    }
    /* Two numbers that a double holds exactly have a quotient, or product, rounded once. */
    if (FLT_EVAL_METHOD == 0 && count <= MOST_DIGITS && digits <= (uint64_t)1 << DBL_MANT_DIG &&
        scale >= -MOST_EXACT_POWER && scale <= MOST_EXACT_POWER) {
        double found = (double)digits;
        found = scale < 0 ? found / POWERS[-scale] : found * POWERS[scale];
        *value = negative ? -found : found;
    }
    else {
        char *stop;
        *value = strtod_l(start, &stop, PLAIN);
        if (stop != p)
            return NULL; /* an exponent after what may have none */
    }
    return *value >= -GREATEST && *value <= GREATEST ? p : NULL;
}

static const char *
scan_integer(const char *p, int64_t *value)
{
    int64_t found = 0;
    if (*p == '0') {
        *value = 0;
        return p + 1;
    }
    const char *start = p;
    for (; is_digit(*p); p++) {
        if (p - start == 18)
            return NULL;
        found = found * 10 + (*p - '0');
    }
    *value = found;
    return p > start ? p : NULL;
}

/* Times. */

/* Two digits, or -1. */
static inline int
two(const char *p)
{
    return is_digit(p[0]) && is_digit(p[1]) ? (p[0] - '0') * 10 + (p[1] - '0') : -1;
}

/* Days from 1970-01-01 in the Gregorian calendar. Years begin in March here, so that a leap day is
 * their last. */
static int64_t
days_of(int year, int month, int day)
{
    year -= month <= 2;
    int of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return 365LL * year + year / 4 - year / 100 + year / 400 + of_year - 719468;
}

static bool
is_date(int year, int month, int day)
{
    static const int DAYS[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (month < 1 || month > 12 || day < 1)
        return false;
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return day <= DAYS[month - 1] + (month == 2 && leap);
}

enum { FIRST_YEAR = 1678, LAST_YEAR = 2261 }; /* as in edc.times */

/* `YYYY-MM-DDTHH:MM:SS`: seconds since the epoch. `end` is that of the line. */
static const char *
scan_moment(const char *p, const char *end, int64_t *seconds)
{
    if (end - p < 19 || p[4] != '-' || p[7] != '-' || p[10] != 'T' || p[13] != ':' || p[16] != ':')
        return NULL;
    int century = two(p), years = two(p + 2), month = two(p + 5), day = two(p + 8);
    int hour = two(p + 11), minute = two(p + 14), second = two(p + 17);
    if ((century | years | month | day | hour | minute | second) < 0)
        return NULL;
    int year = century * 100 + years;
    if (year < FIRST_YEAR || year > LAST_YEAR || !is_date(year, month, day) || hour > 23 ||
        minute > 59 || second > 59)
        return NULL;
    *seconds = days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    return p + 19;
}

/* Up to nine digits: nanoseconds, and how many they were. */
static const char *
scan_fraction(const char *p, int64_t *ns, int *count)
{
    int64_t found = 0;
    for (*count = 0; is_digit(*p); p++) {
        if (++*count > 9)
            return NULL;
        found = found * 10 + (*p - '0');
    }
    for (int more = *count; more < 9; more++)
        found *= 10;
    *ns = found;
    return p;
}

static const char *
scan_time(const char *p, const char *end, bool zulu, int64_t *value)
{
    int64_t seconds, ns = 0;
    int count = 0;
    p = scan_moment(p, end, &seconds);
    if (p == NULL)
        return NULL;
    if (*p == '.') {
        p = scan_fraction(p + 1, &ns, &count);
        if (p == NULL || count == 0)
            return NULL;
    }
    if (!zulu && count != 6)
        return NULL;
    if (*p == 'Z')
        p++;
    else if (!zulu && (*p == '+' || *p == '-') && end - p >= 6 && p[3] == ':') {
        int hours = two(p + 1), minutes = two(p + 4);
        if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59)
            return NULL;
        int64_t ahead = hours * 3600 + minutes * 60;
        seconds -= *p == '+' ? ahead : -ahead;
        p += 6;
    }
    else
        return NULL;
    *value = seconds * 1000000000 + ns;
    return p;
}

/* Texts. */

static const char *
scan_letters(const char *p, uint8_t of)
{
    while (LETTERS[(unsigned char)*p] & of)
        p++;
    return p;
}

/* Put a text into a column; false where there is no memory. */
static bool
keep_text(Step *step, Py_ssize_t row, const char *text, size_t size)
{
    union view *view = &step->views[row];
    if (size <= sizeof view->brief.text) {
        memset(view, 0, sizeof *view);
        view->brief.size = (int32_t)size;
        memcpy(view->brief.text, text, size);
        return true;
    }
    if (size > step->heap_room - step->heap_size) {
        size_t room = 2 * step->heap_room + size + 4096;
        char *heap = realloc(step->heap, room);
        if (heap == NULL)
            return false;
        step->heap = heap;
        step->heap_room = room;
    }
    view->longer.size = (int32_t)size;
    memcpy(view->longer.begin, text, sizeof view->longer.begin);
    view->longer.buffer = 0;
    view->longer.offset = (int32_t)step->heap_size;
    memcpy(step->heap + step->heap_size, text, size);
    step->heap_size += size;
    return true;
}

/* Reading: 1 where a line has the form, 0 where not, -1 where there is no memory. */

static int
read_line(Step *steps, const char *p, const char *end, Py_ssize_t row)
{
    for (Step *step = steps;; step++) {
        if (end - p < step->size || !is_same(p, step->literal, (size_t)step->size))
            return 0;
        p += step->size;
        const char *start = p;
        double real = 0;
        int64_t integer = 0;
        switch (step->kind) {
        case END:
        case FITS:
            return p == end;
        case WORD:
        case TEXT:
            p = scan_letters(p, step->kind == WORD ? IN_WORD : IN_TEXT);
            if (step->kind == WORD && p == start)
                return 0;
            if (step->kept && !keep_text(step, row, start, (size_t)(p - start)))
                return -1;
            continue;
        case REAL_OR_NULL:
            if (*p == 'n') {
                if (end - p < 4 || memcmp(p, "null", 4) != 0)
                    return 0;
                p += 4;
                if (step->kept) {
                    step->valid[row] = 0;
                    step->reals[row] = 0;
                }
                continue;
            }
            if (step->kept)
                step->valid[row] = 1;
            /* fall through */
        case REAL:
        case DECIMAL:
            p = scan_real(p, step->kind != DECIMAL, &real);
            if (p == NULL)
                return 0;
            if (step->kept)
                step->reals[row] = real;
            continue;
        case INTEGER:
            p = scan_integer(p, &integer);
            break;
        case FLAG:
            integer = *p == 't';
            if (end - p < 5 - integer || memcmp(p, integer ? "true" : "false", 5 - (size_t)integer))
                return 0;
            p += 5 - integer;
            break;
        case ISO:
        case ZULU:
            p = scan_time(p, end, step->kind == ZULU, &integer);
            break;
        }
        if (p == NULL)
            return 0;
        if (step->kept)
            step->integers[row] = integer;
    }
}

typedef struct {
    Py_ssize_t lines, rows; /* how many there are, and how many have the form */
    char *rest;             /* the others, each with its line break */
    size_t rest_size;
} Found;

/* False where there is no memory. Where there are more lines than `most`, they are -1. */
static bool
read_lines(Step *steps, const char *text, size_t size, Py_ssize_t most, Step *fits, Found *found)
{
    const char *end = text + size;
    for (const char *line = text; line <= end; found->lines++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (stop == NULL)
            stop = end;
        if (found->lines == most) {
            found->lines = -1; /* there are more */
            return true;
        }
        int has = read_line(steps, line, stop, found->rows);
        if (has < 0)
            return false;
        fits->bytes[found->lines] = (uint8_t)has;
        found->rows += has;
        if (!has) {
            if (found->rest == NULL && (found->rest = malloc(size + 1)) == NULL)
                return false;
            size_t length = (size_t)(stop - line);
            memcpy(found->rest + found->rest_size, line, length);
            found->rest_size += length;
            found->rest[found->rest_size++] = '\n';
        }
        line = stop + 1;
    }
    return true;
}

/* Columns as Arrow arrays. */

typedef struct {
    const void *buffers[4]; /* validity, values, and for texts: what they are, and how long that is */
    int64_t heap_size;
} Owned;

static void
release_array(struct ArrowArray *array)
{
    Owned *owned = array->private_data;
    free((void *)owned->buffers[0]);
    free((void *)owned->buffers[1]);
    if (array->n_buffers == 4)
        free((void *)owned->buffers[2]);
    free(owned);
    array->release = NULL;
}

static void
release_schema(struct ArrowSchema *schema)
{
    schema->release = NULL; /* its format is a constant */
}

static void
drop_array(PyObject *capsule)
{
    struct ArrowArray *array = PyCapsule_GetPointer(capsule, "arrow_array");
    if (array->release != NULL)
        array->release(array);
    free(array);
}

static void
drop_schema(PyObject *capsule)
{
    struct ArrowSchema *schema = PyCapsule_GetPointer(capsule, "arrow_schema");
    if (schema->release != NULL)
        schema->release(schema);
    free(schema);
}

/* Bits of bytes; false where there is no memory. */
static bool
pack(const uint8_t *valid, Py_ssize_t rows, const void **bits, int64_t *nulls)
{
    *nulls = 0;
    for (Py_ssize_t row = 0; row < rows; row++)
        *nulls += !valid[row];
    if (*nulls == 0)
        return true;
    uint8_t *packed = calloc((size_t)rows / 8 + 1, 1);
    if (packed == NULL)
        return false;
    for (Py_ssize_t row = 0; row < rows; row++)
        packed[row / 8] |= (uint8_t)(valid[row] << row % 8);
    *bits = packed;
    return true;
}

static bool
is_text(const Step *step)
{
    return step->kind == WORD || step->kind == TEXT;
}

static const char *
format_of(enum kind kind)
{
    switch (kind) {
    case WORD:
    case TEXT:
        return "vu"; /* texts as views */
    case REAL:
    case REAL_OR_NULL:
    case DECIMAL:
        return "g"; /* doubles */
    case FITS:
        return "C"; /* bytes */
    default:
        return "l"; /* 64 bits with a sign */
    }
}

/* The pair (schema, array), to which the column's memory goes. */
static PyObject *
export(Step *step, Py_ssize_t rows)
{
    bool text = is_text(step);
    struct ArrowSchema *schema = calloc(1, sizeof *schema);
    struct ArrowArray *array = calloc(1, sizeof *array);
    Owned *owned = calloc(1, sizeof *owned);
    int64_t nulls = 0;
    if (schema == NULL || array == NULL || owned == NULL ||
        (step->valid != NULL && !pack(step->valid, rows, &owned->buffers[0], &nulls))) {
        free(schema);
        free(array);
        free(owned);
        return PyErr_NoMemory();
    }
    owned->buffers[1] = step->values;
    step->values = NULL;
    if (text) {
        owned->buffers[2] = step->heap;
        owned->buffers[3] = &owned->heap_size;
        owned->heap_size = (int64_t)step->heap_size;
        step->heap = NULL;
    }
    *schema = (struct ArrowSchema){
        .format = format_of(step->kind),
        .name = "",
        .flags = MAY_BE_NULL,
        .release = release_schema,
    };
    *array = (struct ArrowArray){
        .length = rows,
        .null_count = nulls,
        .n_buffers = text ? 4 : 2,
        .buffers = owned->buffers,
        .release = release_array,
        .private_data = owned,
    };
    PyObject *first = PyCapsule_New(schema, "arrow_schema", drop_schema);
    if (first == NULL) {
        release_array(array);
        free(array);
        free(schema);
        return NULL;
    }
    PyObject *second = PyCapsule_New(array, "arrow_array", drop_array);
    if (second == NULL) {
        release_array(array);
        free(array);
        Py_DECREF(first);
        return NULL;
    }
    return Py_BuildValue("(NN)", first, second);
}

/* A text has at most so many bytes, since texts of a column are found by 32 bits. */
static const Py_ssize_t MOST_BYTES = INT32_MAX;

static void
free_steps(Step *steps, Py_ssize_t count)
{
    for (Py_ssize_t at = 0; at < count; at++) {
        free(steps[at].values);
        free(steps[at].valid);
        free(steps[at].heap);
    }
    PyMem_Free(steps);
}

/* One step of (literal, kind, kept); its literal is borrowed. */
static bool
take_step(PyObject *told, Step *step, size_t rows)
{
    const char *kind;
    int kept;
    if (!PyTuple_Check(told)) {
        PyErr_SetString(PyExc_TypeError, "a step is a tuple");
        return false;
    }
    if (!PyArg_ParseTuple(told, "y#zp", &step->literal, &step->size, &kind, &kept))
        return false;
    if (kind == NULL)
        return true;
    step->kept = kept;
    for (enum kind each = WORD; each <= ZULU; each++)
        if (strcmp(kind, KINDS[each]) == 0)
            step->kind = each;
    if (step->kind == END) {
        PyErr_Format(PyExc_ValueError, "%s is no kind of field", kind);
        return false;
    }
    if (!kept)
        return true;
    step->values = malloc((rows + 1) * (is_text(step) ? sizeof(union view) : sizeof(int64_t)));
    if (step->kind == REAL_OR_NULL)
        step->valid = malloc(rows + 1);
    if (step->values == NULL || (step->kind == REAL_OR_NULL && step->valid == NULL)) {
        PyErr_NoMemory();
        return false;
    }
    return true;
}

static PyObject *
export_all(Step *steps, Py_ssize_t count, const Found *found, Step *fits)
{
    PyObject *columns = PyList_New(0);
    for (Py_ssize_t at = 0; columns != NULL && at < count; at++) {
        if (!steps[at].kept)
            continue;
        PyObject *column = export(&steps[at], found->rows);
        if (column == NULL || PyList_Append(columns, column) < 0)
            Py_CLEAR(columns);
        Py_XDECREF(column);
    }
    if (columns == NULL)
        return NULL;
    if (found->rest == NULL)
        return Py_BuildValue("(NOy)", columns, Py_None, "");
    PyObject *which = export(fits, found->lines);
    if (which == NULL) {
        Py_DECREF(columns);
        return NULL;
    }
    return Py_BuildValue("(NNy#)", columns, which, found->rest, (Py_ssize_t)found->rest_size - 1);
}

static PyObject *
speedups_read(PyObject *module, PyObject *args)
{
    PyObject *told, *texts; /* bytes, and nothing like them: see above */
    Py_ssize_t number;
    (void)module;
    if (!PyArg_ParseTuple(args, "O!Sn", &PyTuple_Type, &told, &texts, &number))
        return NULL;
    const char *text = PyBytes_AS_STRING(texts);
    Py_ssize_t size = PyBytes_GET_SIZE(texts);
    if (number < 0 || number > size + 1 || size > MOST_BYTES) {
        PyErr_SetString(PyExc_ValueError, "another number of lines");
        return NULL;
    }
    Py_ssize_t count = PyTuple_GET_SIZE(told);
    if (count == 0) {
        PyErr_SetString(PyExc_ValueError, "a form has one step at least");
        return NULL;
    }
    Step *steps = PyMem_Calloc((size_t)count + 1, sizeof *steps);
    Step fits = {.kind = FITS, .values = malloc((size_t)number + 1)};
    Found found = {0};
    PyObject *result = NULL;
    if (steps == NULL || fits.values == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (Py_ssize_t at = 0; at < count; at++) {
        if (!take_step(PyTuple_GET_ITEM(told, at), &steps[at], (size_t)number))
            goto done;
        if ((steps[at].kind == END) != (at == count - 1)) {
            PyErr_SetString(PyExc_ValueError, "the last step, and no other, has no field");
            goto done;
        }
    }
    bool enough = true;
    Py_BEGIN_ALLOW_THREADS
    enough = read_lines(steps, text, (size_t)size, number, &fits, &found);
    Py_END_ALLOW_THREADS
    if (!enough)
        PyErr_NoMemory();
    else if (found.lines != number)
        PyErr_SetString(PyExc_ValueError, "another number of lines");
    else
        result = export_all(steps, count, &found, &fits);
done:
    if (steps != NULL)
        free_steps(steps, count);
    free(fits.values);
    free(found.rest);
    return result;
}

/* Parting. */

typedef struct {
    unsigned char key;
    char *text;
    size_t size, room;
    Py_ssize_t count;
} Part;

/* Room for so many bytes more; NULL where there is no memory. */
static char *
room_for(Part *part, size_t more)
{
    if (more > part->room - part->size) {
        size_t room = 2 * part->room + more;
        char *text = realloc(part->text, room);
        if (text == NULL)
            return NULL;
        part->text = text;
        part->room = room;
    }
    char *at = part->text + part->size;
    part->size += more;
    return at;
}

typedef struct {
    Py_ssize_t at;
    Part parts[256];
    int found; /* parts that have a key */
    int of[256];
    const char *seam, *tail, *head; /* between messages; and what ends one and begins the next */
    Py_ssize_t seam_size, tail_size, head_size;
    Part *last; /* that the last message went to, and where in it that begins */
    size_t last_at;
} Parting;

/* Put a message, in three pieces, to those of its key. 0 where it has none, -1 without memory. */
static int
put(Parting *to, const char *head, size_t head_size, const char *body, size_t body_size,
    const char *tail, size_t tail_size)
{
    size_t size = head_size + body_size + tail_size, at = (size_t)to->at;
    if (to->at < 0)
        at += size; /* modulo 2^64: what is before the beginning is far behind the end */
    if (at >= size)
        return 0;
    char key = at < head_size               ? head[at]
               : at < head_size + body_size ? body[at - head_size]
                                            : tail[at - head_size - body_size];
    int number = to->of[(unsigned char)key];
    if (number < 0)
        return 0;
    Part *part = &to->parts[number];
    bool first = part->size == 0;
    char *place = room_for(part, size + !first);
    if (place == NULL)
        return -1;
    if (!first)
        *place++ = '\n';
    to->last = part;
    to->last_at = (size_t)(place - part->text);
    memcpy(place, head, head_size);
    memcpy(place + head_size, body, body_size);
    memcpy(place + head_size + body_size, tail, tail_size);
    part->count++;
    return 1;
}

/* Where the next message begins, or NULL. The first letter of a seam is rare: that of a message's
 * end. */
static const char *
find_seam(const Parting *to, const char *p, const char *end)
{
    while ((p = memchr(p, to->seam[0], (size_t)(end - p))) != NULL) {
        if (end - p >= to->seam_size && is_same(p, to->seam, (size_t)to->seam_size))
            return p;
        p++;
    }
    return NULL;
}

/* All messages of a frame; as `put`, and 0 for a frame of several lines. */
static int
part_frame(Parting *to, const char *frame, size_t size)
{
    if (memchr(frame, '\n', size) != NULL)
        return 0;
    const char *end = frame + size, *head = "";
    size_t head_size = 0;
    while (to->seam != NULL) {
        const char *seam = find_seam(to, frame, end);
        if (seam == NULL)
            break;
        int done = put(to, head, head_size, frame, (size_t)(seam - frame), to->tail,
                       (size_t)to->tail_size);
        if (done <= 0)
            return done;
        frame = seam + to->seam_size;
        head = to->head;
        head_size = (size_t)to->head_size;
    }
    return put(to, head, head_size, frame, (size_t)(end - frame), "", 0);
}

static PyObject *
parts_of(const Parting *to, Py_ssize_t received)
{
    PyObject *parts = PyList_New(0);
    if (parts == NULL)
        return NULL;
    for (int number = 0; number < to->found; number++) {
        const Part *part = &to->parts[number];
        if (part->count == 0)
            continue;
        PyObject *each = Py_BuildValue("(iy#n)", (int)part->key, part->text,
                                       (Py_ssize_t)part->size, part->count);
        if (each == NULL || PyList_Append(parts, each) < 0) {
            Py_XDECREF(each);
            Py_DECREF(parts);
            return NULL;
        }
        Py_DECREF(each);
    }
    return Py_BuildValue("(Ny#n)", parts, to->last->text + to->last_at,
                         (Py_ssize_t)(to->last->size - to->last_at), received);
}

static PyObject *
speedups_part(PyObject *module, PyObject *args)
{
    PyObject *frames;
    const char *keys;
    Py_ssize_t keys_size;
    Parting to = {0};
    (void)module;
    if (!PyArg_ParseTuple(args, "Ony#z#y#y#", &frames, &to.at, &keys, &keys_size, &to.seam,
                          &to.seam_size, &to.tail, &to.tail_size, &to.head, &to.head_size))
        return NULL;
    if (to.seam != NULL && to.seam_size == 0)
        to.seam = NULL;
    memset(to.of, -1, sizeof to.of);
    for (Py_ssize_t key = 0; key < keys_size; key++)
        if (to.of[(unsigned char)keys[key]] < 0) {
            to.parts[to.found].key = (unsigned char)keys[key];
            to.of[(unsigned char)keys[key]] = to.found++;
        }
    PyObject *list = PySequence_Fast(frames, "frames are a sequence");
    if (list == NULL)
        return NULL;
    Py_ssize_t received = 0, number = PySequence_Fast_GET_SIZE(list);
    int done = number > 0;
    for (Py_ssize_t each = 0; done > 0 && each < number; each++) {
        char *frame;
        Py_ssize_t size;
        if (PyBytes_AsStringAndSize(PySequence_Fast_GET_ITEM(list, each), &frame, &size) < 0)
            done = -2;
        else {
            received += size;
            done = part_frame(&to, frame, (size_t)size);
        }
    }
    PyObject *result = NULL;
    if (done > 0)
        result = parts_of(&to, received);
    else if (done == 0)
        PyErr_SetString(PyExc_LookupError, "a frame of another kind, or of several lines");
    else if (done == -1)
        PyErr_NoMemory();
    for (int part = 0; part < to.found; part++)
        free(to.parts[part].text);
    Py_DECREF(list);
    return result;
}

PyDoc_STRVAR(READ, "\
read(steps, texts, number)\n--\n\n\
The kept fields of those texts, one a line, that have a form.\n\
\n\
A step of the form is what stands before a field, the field's kind (see edc.forms) and whether it\n\
is kept; the last has no field, its kind is None. Three are returned: a column for each kept field,\n\
Float64, Int64 or String, a flag being 0 or 1; which texts have the form, 0 or 1, or None where all\n\
do; the other texts, one a line. A column is an Arrow schema and array in capsules, as\n\
__arrow_c_array__ returns them, and is imported once. A text with a value that means nothing has\n\
not the form. Raises ValueError where there are not number lines, or 2 GiB of them.");

PyDoc_STRVAR(PART, "\
part(frames, at, keys, between, end, begin)\n--\n\n\
Frames by their byte `at`, counted from the end where that is negative, which is one of the keys.\n\
\n\
Where `between` stands in a frame, one message ends and the next begins: they become two, the one\n\
with this end, the other with this beginning. Three are returned: of each key that there are any\n\
of, the key, its messages, one a line, and how many; the last message; the number of the frames'\n\
bytes. Raises LookupError where a message has none of the keys, or a frame has several lines.");

static PyMethodDef METHODS[] = {
    {"read", speedups_read, METH_VARARGS, READ},
    {"part", speedups_part, METH_VARARGS, PART},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, .m_name = "edc.speedups",
    .m_doc = "What is done for every message of a feed's short way.", .m_size = -1, .m_methods = METHODS,
};

PyMODINIT_FUNC
PyInit_speedups(void)
{
    fill_letters();
    PLAIN = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (PLAIN == (locale_t)0)
        return PyErr_SetFromErrno(PyExc_OSError);
    return PyModule_Create(&MODULE);
}
