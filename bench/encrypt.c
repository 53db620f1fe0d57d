/* Encrypts push messages (RFC 8291) with libcrypto alone, the yardstick for notifier.push.encrypt.
 *
 *     cc -O2 -o encrypt encrypt.c -lcrypto && ./encrypt COUNT PLAINTEXT_LENGTH
 *
 * Every message gets what it gets from us: a new key pair and salt, the browser's public point
 * decoded from its 65 bytes, ECDH, four HKDF steps, AES-128-GCM, and the header of RFC 8188. What
 * can be kept from one message to the next (algorithms, contexts) is kept. Prints the CPU seconds
 * and, to show that nothing was left out, the length of a body, as JSON.
 */
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { POINT = 65, SECRET = 32, AUTH = 16, SALT = 16, TAG = 16, LONGEST = 3993 };

static void check(int ok, const char *what) {
    if (ok > 0) return;
    fprintf(stderr, "%s failed\n", what);
    exit(1);
}

static double cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec +
           (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static EVP_MAC_CTX *mac;
static EVP_CIPHER *aes;
static EVP_CIPHER_CTX *cipher;
static EVP_PKEY_CTX *generator;

static void hmac(const void *key, size_t key_length, const void *data, size_t length,
                 unsigned char out[32]) {
    size_t written;
    check(EVP_MAC_init(mac, key, key_length, NULL) && EVP_MAC_update(mac, data, length) &&
              EVP_MAC_final(mac, out, &written, 32), "HMAC");
}

static EVP_PKEY *new_key_pair(unsigned char point[POINT]) {
    EVP_PKEY *pair = NULL;
    size_t length;
    check(EVP_PKEY_generate(generator, &pair), "key generation");
    check(EVP_PKEY_get_octet_string_param(pair, OSSL_PKEY_PARAM_PUB_KEY, point, POINT, &length),
          "encoding a point");
    return pair;
}

static EVP_PKEY *decode(const EVP_PKEY *same_curve, const unsigned char point[POINT]) {
    EVP_PKEY *key = EVP_PKEY_new();
    check(key != NULL && EVP_PKEY_copy_parameters(key, same_curve) &&
              EVP_PKEY_set1_encoded_public_key(key, point, POINT), "decoding a point");
    return key;
}

static size_t encrypt(const unsigned char *padded, size_t length,
                      const unsigned char p256dh[POINT], const unsigned char auth[AUTH],
                      unsigned char *body) {
    unsigned char info[14 + 2 * POINT + 1], secret[SECRET], shared[32], ikm[32], material[32],
        key[32], nonce[32], *salt = body, *point = body + 21, *record = point + POINT;
    size_t secret_length = SECRET;
    int written, last;

    check(RAND_bytes(salt, SALT), "RAND_bytes");
    memcpy(body + 16, "\0\0\x10\0\x41", 5);

    EVP_PKEY *pair = new_key_pair(point);
    EVP_PKEY *browser = decode(pair, p256dh);
    EVP_PKEY_CTX *exchange = EVP_PKEY_CTX_new_from_pkey(NULL, pair, NULL);
    /* 0: the point was found to be on the curve when it was decoded, and is not checked again. */
    check(EVP_PKEY_derive_init(exchange) && EVP_PKEY_derive_set_peer_ex(exchange, browser, 0) &&
              EVP_PKEY_derive(exchange, secret, &secret_length), "ECDH");
    EVP_PKEY_CTX_free(exchange);
    EVP_PKEY_free(browser);
    EVP_PKEY_free(pair);

    memcpy(info, "WebPush: info", 14);
    memcpy(info + 14, p256dh, POINT);
    memcpy(info + 14 + POINT, point, POINT);
    info[sizeof info - 1] = 1;
    hmac(auth, AUTH, secret, SECRET, shared);
    hmac(shared, 32, info, sizeof info, ikm);
    hmac(salt, SALT, ikm, 32, material);
    hmac(material, 32, "Content-Encoding: aes128gcm\0\1", 29, key);
    hmac(material, 32, "Content-Encoding: nonce\0\1", 25, nonce);

    check(EVP_EncryptInit_ex2(cipher, aes, key, nonce, NULL) &&
              EVP_EncryptUpdate(cipher, record, &written, padded, (int)length) &&
              EVP_EncryptFinal_ex(cipher, record + written, &last) &&
              EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, TAG, record + length),
          "AES-GCM");
    return 21 + POINT + length + TAG;
}

int main(int argc, char **argv) {
    long count = argc == 3 ? atol(argv[1]) : 0;
    size_t length = argc == 3 ? (size_t)atol(argv[2]) : 0, body_length = 0;
    unsigned char padded[LONGEST + 1], body[4096 + 21 + POINT], p256dh[POINT], auth[AUTH];
    if (count < 1 || length < 1 || length > LONGEST) {
        fprintf(stderr, "usage: encrypt COUNT PLAINTEXT_LENGTH\n");
        return 2;
    }
    OSSL_PARAM sha256[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, "SHA256", 0),
                           OSSL_PARAM_construct_end()};
    mac = EVP_MAC_CTX_new(EVP_MAC_fetch(NULL, "HMAC", NULL));
    check(EVP_MAC_CTX_set_params(mac, sha256), "HMAC with SHA-256");
    aes = EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL);
    cipher = EVP_CIPHER_CTX_new();
    generator = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    check(EVP_PKEY_keygen_init(generator), "key generation");
    check(EVP_PKEY_CTX_set_group_name(generator, "prime256v1"), "P-256");

    EVP_PKEY_free(new_key_pair(p256dh));
    check(RAND_bytes(auth, AUTH), "RAND_bytes");
    memset(padded, 'x', length);
    padded[length] = 2;
    for (long i = 0; i < count / 10; i++) encrypt(padded, length + 1, p256dh, auth, body);
    double started = cpu_seconds();
    for (long i = 0; i < count; i++)
        body_length = encrypt(padded, length + 1, p256dh, auth, body);
    printf("{\"cpu_s\": %.6f, \"body_length\": %zu, \"library\": \"%s\"}\n",
           cpu_seconds() - started, body_length, OpenSSL_version(OPENSSL_VERSION));
    return 0;
}
